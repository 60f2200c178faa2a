"""Commands about jobs that make datasets of datasets: `mlmesh processing …`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.text import Text

from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.job_options import (
    Engine,
    InputNames,
    Keys,
    MemoryMib,
    Mode,
    OutputName,
    Priority,
    SpecFile,
    Sql,
    Threads,
    job_spec,
    labels_of,
)
from mlmesh.cli.output import coloured, console, human_size, moment, plain, print_error, print_json, print_table, state_text
from mlmesh.errors import ProcessingFailed
from mlmesh.log_lines import LogLine
from mlmesh.processing_jobs import ProcessingJob
from mlmesh.sync.mesh import SyncMesh

app = typer.Typer(help="Make datasets of datasets, on one machine or many.", no_args_is_help=True)
_INTERRUPTED = 130
_LEVEL_COLOURS = {"warning": "yellow", "error": "red"}
Identifier = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the job.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Whether to wait until it is done.")]


@app.command()
def run(
    sql: Sql = "",
    inputs: InputNames = None,
    output: OutputName = "",
    mode: Mode = "",
    key: Keys = None,
    engine: Engine = "",
    memory_mib: MemoryMib = 0,
    threads: Threads = 0,
    priority: Priority = 0,
    spec: SpecFile = None,
    name: Annotated[str, typer.Option(help="Name of the job, for people.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="A label of the job; may be repeated.", metavar="KEY=VALUE")] = None,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check the job, and run nothing.")] = False,
    wait: Wait = True,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a job: a SELECT whose rows become a dataset, or what a file says. Exits with 1 where it fails.

    Ctrl-C stops the waiting, not the job.
    """
    asked = job_spec(sql, inputs, output, mode, key, engine, memory_mib, threads, priority, spec)
    labels = labels_of(label)
    with connected(url, data_dir) as mesh:
        job = mesh.processing.create_processing_job(asked, display_name=name, labels=labels, validate_only=validate_only, project=project)
        if not validate_only:
            _print_job(mesh, job, wait=wait, project=project, as_json=as_json)
            return
    if as_json:
        print_json(plain(job))
    else:
        console().print("the job can be run; nothing was computed", soft_wrap=True)


@app.command("jobs")
def list_jobs(
    filter_: Annotated[str, typer.Option("--filter", help="AIP-160 filter, for example 'state = \"FAILED\"'.")] = "",
    limit: Annotated[int, typer.Option(help="Most jobs to show.", min=1)] = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    with connected(url, data_dir) as mesh:
        found = mesh.processing.list_processing_jobs(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(job) for job in found])
        return
    print_table(_COLUMNS, map(_row, found), empty="no jobs")


@app.command()
def show(job_id: Identifier, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show a job: how it stands, what it reads and writes."""
    with connected(url, data_dir) as mesh:
        job = mesh.processing.get_processing_job(job_id, project=project)
    if as_json:
        print_json(plain(job))
        return
    resources = job.spec.get("resources", {})
    print_table(
        ("", ""),
        (
            ("id", job.id),
            ("name", job.display_name),
            ("labels", ", ".join(f"{key}={value}" for key, value in sorted(job.labels.items()))),
            ("engine", job.engine),
            ("resources", ", ".join(f"{key} {value}" for key, value in resources.items())),
            ("state", state_text(job.state)),
            ("error", f"{job.error.message} ({job.error.reason})" if job.error is not None else ""),
            ("phase", "" if job.is_done else job.progress.phase),
            ("attempt", job.attempt or ""),
            ("retry of", job.retry_of),
            ("most memory", human_size(job.peak_memory_bytes) if job.peak_memory_bytes else ""),
            ("created", f"{moment(job.create_time)} by {job.creator or '-'}"),
            ("started", moment(job.start_time)),
            ("ended", moment(job.end_time)),
        ),
    )
    console().print()
    read = (
        (one.name, one.dataset, one.version, state_text(one.validation.status) if one.validation is not None else "") for one in job.inputs
    )
    print_table(("INPUT", "DATASET", "VERSION", "EXPECTATIONS"), read)
    console().print()
    written = ((one.dataset, one.step, one.version, one.row_count, one.ingestion_id) for one in job.outputs)
    print_table(("OUTPUT", "STEP", "VERSION", "ROWS", "INGESTION"), written)


@app.command()
def logs(
    job_id: Identifier,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the log of a job. With --json a line is a JSON object."""
    with connected(url, data_dir) as mesh:
        try:
            for line in mesh.processing.tail_processing_job_logs(job_id, follow=follow, project=project):
                _print_line(line, as_json=as_json)
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None


@app.command()
def cancel(job_id: Identifier, project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Stop a job that has not ended. What it has written stays."""
    with connected(url, data_dir) as mesh:
        job = mesh.processing.cancel_processing_job(job_id, project=project)
    console().print(f"job {job.id} is {coloured(job.state)}", soft_wrap=True)


@app.command()
def retry(
    job_id: Identifier, wait: Wait = True, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Run a job again that failed or was cancelled, over the same versions of its inputs. It is a new job."""
    with connected(url, data_dir) as mesh:
        job = mesh.processing.retry_processing_job(job_id, project=project)
        _print_job(mesh, job, wait=wait, project=project, as_json=as_json)


@app.command()
def explain(
    sql: Sql = "",
    inputs: InputNames = None,
    output: OutputName = "",
    mode: Mode = "",
    key: Keys = None,
    engine: Engine = "",
    memory_mib: MemoryMib = 0,
    threads: Threads = 0,
    priority: Priority = 0,
    spec: SpecFile = None,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Say how a job would run: its plan, columns, stages, and what it is estimated to take. Takes the options of `run`."""
    asked = job_spec(sql, inputs, output, mode, key, engine, memory_mib, threads, priority, spec)
    with connected(url, data_dir) as mesh:
        explanation = mesh.processing.explain_processing_job(asked, project=project)
    if as_json:
        print_json(plain(explanation))
        return
    console().print(explanation.text, markup=False, soft_wrap=True)


@app.command()
def status(project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show which engines can be used, and which jobs run and wait."""
    with connected(url, data_dir) as mesh:
        found = mesh.processing.get_processing_status(project=project)
    if as_json:
        print_json(plain(found))
        return
    engines = (
        (
            *(one.engine, state_text("ready" if one.is_available else "unavailable"), one.version, one.running_jobs, one.queued_jobs),
            one.unavailable_reason,
        )
        for one in found.engines
    )
    print_table(("ENGINE", "STATE", "VERSION", "RUNNING", "WAITING", "WHY NOT"), engines)
    console().print()
    jobs = (*found.running, *found.queued)
    print_table(_COLUMNS, map(_row, jobs), empty=f"no jobs; a server runs {found.concurrent_jobs} at the same time")


_COLUMNS = ("ID", "NAME", "ENGINE", "STATE", "OUTPUTS", "ROWS", "ERROR", "BY", "CREATED")


def _row(job: ProcessingJob) -> tuple[object, ...]:
    outputs = ", ".join(one.dataset if one.version is None else f"{one.dataset}@{one.version}" for one in job.outputs)
    rows = sum(one.row_count for one in job.outputs) or job.progress.rows_computed
    error = job.error.reason if job.error is not None else ""
    return job.id, job.display_name, job.engine, state_text(job.state), outputs, rows, error, job.creator, moment(job.create_time)


def _print_job(mesh: SyncMesh, job: ProcessingJob, *, wait: bool, project: str, as_json: bool) -> None:
    if wait:
        try:
            job = mesh.processing.wait_for_processing_job(job.id, project=project)
        except KeyboardInterrupt:
            print_error("stopped waiting", f"job {job.id} goes on: `mlmesh processing show {job.id}`")
            raise typer.Exit(_INTERRUPTED) from None
        except ProcessingFailed as error:
            if as_json:
                print_json(plain(error.job))
            raise
    if as_json:
        print_json(plain(job))
    elif not job.is_done:
        console().print(f"job {job.id} is {coloured(job.state)}", soft_wrap=True)
    else:
        for one in job.outputs:
            console().print(f"{one.dataset} version {one.version}: {one.row_count} rows", soft_wrap=True)


def _print_line(line: LogLine, *, as_json: bool) -> None:
    if as_json:
        # One a line, so that programs can read them as they come.
        typer.echo(json.dumps(plain(line), ensure_ascii=False))
        return
    head = f"{moment(line.time)} {line.level.upper():<7} {line.source:<10} "
    console().print(Text(head + line.text, style=_LEVEL_COLOURS.get(line.level, "")), soft_wrap=True)
