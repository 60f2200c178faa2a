"""Commands about computations that run again and again: `mlmesh pipelines …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.job_options import labels_of, read_spec
from mlmesh.cli.output import coloured, console, moment, plain, print_error, print_json, print_table, state_text
from mlmesh.errors import ProcessingFailed
from mlmesh.pipelines import Pipeline
from mlmesh.processing_jobs import ProcessingJob
from mlmesh.sync.mesh import SyncMesh

app = typer.Typer(help="Computations that run again and again, over what has changed alone.", no_args_is_help=True)
_INTERRUPTED = 130
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the pipeline.")]
DisplayName = Annotated[str | None, typer.Option(help="Its name, for people.")]
Description = Annotated[str | None, typer.Option(help="What it is for.")]
Label = Annotated[list[str] | None, typer.Option(help="A label; may be repeated.", metavar="KEY=VALUE")]
ValidateOnly = Annotated[bool, typer.Option("--validate-only", help="Check it, and keep nothing.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Whether to wait until it is done.")]
Filter = Annotated[str, typer.Option("--filter", help="AIP-160 filter.")]
Limit = Annotated[int, typer.Option(help="Most to show.", min=1)]
Etag = Annotated[str, typer.Option(help="The etag that was read; where it has changed since, nothing changes.")]
SpecFile = typer.Option(
    "--spec", metavar="FILE", help="JSON or YAML of what it is to do, as the contract's PipelineSpec has it.", exists=True, dir_okay=False
)


@app.command()
def create(
    name: Name,
    spec: Annotated[Path, SpecFile],
    display_name: DisplayName = None,
    description: Description = None,
    label: Label = None,
    validate_only: ValidateOnly = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a pipeline of a file that has its PipelineSpec as JSON or YAML. Nothing runs yet."""
    with connected(url, data_dir) as mesh:
        made = mesh.pipelines.create_pipeline(
            name,
            read_spec(spec),
            display_name=display_name or "",
            description=description or "",
            labels=labels_of(label),
            validate_only=validate_only,
            project=project,
        )
    _print_pipeline(made, as_json=as_json)


@app.command()
def update(
    name: Name,
    spec: Annotated[Path | None, SpecFile] = None,
    display_name: DisplayName = None,
    description: Description = None,
    label: Label = None,
    etag: Etag = "",
    validate_only: ValidateOnly = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Change a pipeline. What is not given stays; labels are replaced together."""
    with connected(url, data_dir) as mesh:
        changed = mesh.pipelines.update_pipeline(
            name,
            spec=read_spec(spec) if spec is not None else None,
            display_name=display_name,
            description=description,
            labels=labels_of(label) if label is not None else None,
            etag=etag,
            validate_only=validate_only,
            project=project,
        )
    _print_pipeline(changed, as_json=as_json)


@app.command()
def run(
    name: Name,
    full: Annotated[bool, typer.Option("--full", help="Compute everything anew.")] = False,
    wait: Wait = True,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Bring the outputs of a pipeline up to date. Exits with 1 where that fails. Ctrl-C stops the waiting, not the run."""
    with connected(url, data_dir) as mesh:
        job = mesh.pipelines.run_pipeline(name, mode="full" if full else "incremental", project=project)
        job = _waited(mesh, job, wait=wait, project=project, as_json=as_json)
    if as_json:
        print_json(plain(job))
    elif not job.is_done:
        console().print(f"job {job.id} is {coloured(job.state)}", soft_wrap=True)
    else:
        what = f"{job.changed_rows} changed rows, {job.touched_keys} keys" if job.run_mode == "incremental" else job.full_reason
        console().print(f"{job.run_mode}: {what}", soft_wrap=True, markup=False)
        for one in job.outputs:
            done = "stays as it is" if one.version is None else f"version {one.version}: {one.row_count} rows written"
            console().print(f"{one.dataset} {done}", soft_wrap=True, markup=False)


@app.command()
def check(
    name: Name,
    relative_tolerance: Annotated[
        float | None, typer.Option(help="Difference of two floating-point numbers that counts as none.", min=0, max=1)
    ] = None,
    wait: Wait = True,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Compute everything anew, and compare it with the outputs. Exits with 1 where they differ; nothing is written."""
    with connected(url, data_dir) as mesh:
        job = mesh.pipelines.check_pipeline(name, relative_tolerance=relative_tolerance, project=project)
        job = _waited(mesh, job, wait=wait, project=project, as_json=as_json)
    if as_json:
        print_json(plain(job))
    elif job.check is None:
        console().print(f"job {job.id} is {coloured(job.state)}", soft_wrap=True)
    elif job.check.is_equal:
        console().print("the outputs are what a full run gives", soft_wrap=True)
    else:
        console().print(
            f"{job.check.missing_row_count} rows are missing, and {job.check.extra_row_count} are extra", soft_wrap=True, markup=False
        )
        rows = ((one.dataset, "extra" if one.is_extra else "missing", json.dumps(one.values, ensure_ascii=False)) for one in job.check.rows)
        print_table(("DATASET", "WHAT", "ROW"), rows)
    if job.check is not None and not job.check.is_equal:
        raise typer.Exit(1)


@app.command("list")
def list_pipelines(
    filter_: Filter = "", limit: Limit = 100, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List pipelines."""
    with connected(url, data_dir) as mesh:
        found = mesh.pipelines.list_pipelines(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    rows = ((one.name, one.version, one.run_version or "", one.running_job_id, one.creator, moment(one.update_time)) for one in found)
    print_table(("NAME", "VERSION", "RUN VERSION", "RUNNING", "BY", "CHANGED"), rows, empty="no pipelines")


@app.command()
def show(
    name: Name,
    version: Annotated[int | None, typer.Option(help="Its version; default: the newest.", min=1)] = None,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a pipeline: what it does, and what its outputs are made of."""
    with connected(url, data_dir) as mesh:
        found = mesh.pipelines.get_pipeline(name, version=version, project=project)
    if as_json:
        print_json(plain(found))
        return
    print_table(
        ("", ""),
        (
            ("name", found.name),
            ("display name", found.display_name),
            ("description", found.description),
            ("labels", ", ".join(f"{key}={value}" for key, value in sorted(found.labels.items()))),
            ("version", found.version),
            ("keys", ", ".join(found.spec.get("keys", ()))),
            ("only full, because", found.full_only_reason),
            ("outputs made by version", found.run_version or ""),
            ("of", ", ".join(f"{key}@{value}" for key, value in sorted(found.input_versions.items()))),
            ("running", found.running_job_id),
            ("created", f"{moment(found.create_time)} by {found.creator or '-'}"),
            ("changed", moment(found.update_time)),
            ("etag", found.etag),
        ),
    )
    console().print()
    print_table(("INPUT", "DATASET"), ((one["name"], one["dataset"]) for one in found.spec.get("inputs", ())))
    console().print()
    print_table(("OUTPUT", "STEP"), ((one["dataset"], one.get("step", "")) for one in found.spec.get("outputs", ())))


@app.command()
def versions(
    name: Name, limit: Limit = 100, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List the versions of a pipeline, the newest first."""
    with connected(url, data_dir) as mesh:
        found = mesh.pipelines.list_pipeline_versions(name, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    print_table(("VERSION", "BY", "CREATED"), ((one.version, one.creator, moment(one.create_time)) for one in found))


@app.command()
def quality(
    name: Name,
    filter_: Filter = "",
    limit: Limit = 10,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the statistics of the outputs after each run, the newest first."""
    with connected(url, data_dir) as mesh:
        found = mesh.pipelines.list_output_quality(name, filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    rows = (
        (
            *(f"{one.dataset}@{one.version}", moment(one.create_time), one.row_count, column.column),
            *(_number(value) for value in (column.null_fraction, column.distinct_count, column.mean, column.standard_deviation)),
            *(_number(value) for value in (column.minimum, column.maximum)),
        )
        for one in found
        for column in one.columns
    )
    print_table(("OUTPUT", "TIME", "ROWS", "COLUMN", "NULLS", "DISTINCT", "MEAN", "DEVIATION", "LEAST", "GREATEST"), rows, empty="no runs")


@app.command()
def alerts(
    filter_: Filter = 'state = "OPEN"',
    limit: Limit = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List alerts of all pipelines, the newest first; without a filter those that are open."""
    with connected(url, data_dir) as mesh:
        found = mesh.pipelines.list_quality_alerts(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    rows = (
        (one.pipeline, one.rule, state_text(one.state), one.message, moment(one.create_time), moment(one.resolve_time)) for one in found
    )
    print_table(("PIPELINE", "RULE", "STATE", "WHAT", "RAISED", "RESOLVED"), rows, empty="no alerts")


@app.command()
def delete(name: Name, etag: Etag = "", project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Delete a pipeline with its versions, statistics and alerts. The datasets that it wrote stay."""
    with connected(url, data_dir) as mesh:
        mesh.pipelines.delete_pipeline(name, etag=etag, project=project)
    console().print(f"pipeline {name} is deleted", soft_wrap=True, markup=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _print_pipeline(pipeline: Pipeline, *, as_json: bool) -> None:
    if as_json:
        print_json(plain(pipeline))
        return
    how = f"each run computes everything: {pipeline.full_only_reason}" if pipeline.full_only_reason else "runs compute what has changed"
    console().print(f"pipeline {pipeline.name} version {pipeline.version}; {how}", soft_wrap=True, markup=False)


def _waited(mesh: SyncMesh, job: ProcessingJob, *, wait: bool, project: str, as_json: bool) -> ProcessingJob:
    if not wait:
        return job
    try:
        return mesh.processing.wait_for_processing_job(job.id, project=project)
    except KeyboardInterrupt:
        print_error("stopped waiting", f"job {job.id} goes on: `mlmesh processing show {job.id}`")
        raise typer.Exit(_INTERRUPTED) from None
    except ProcessingFailed as error:
        if as_json:
            print_json(plain(error.job))
        raise
