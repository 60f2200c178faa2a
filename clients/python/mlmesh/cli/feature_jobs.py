"""Commands about work on features that takes a while: `mlmesh features training-sets …` and `mlmesh features materializations …`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.definition_options import Filter, Limit, SpecFile, ValidateOnly, VersionUsed, Wait
from mlmesh.cli.job_options import read_spec
from mlmesh.cli.output import coloured, console, moment, plain, print_error, print_json, print_table, state_text
from mlmesh.errors import FeatureJobFailed
from mlmesh.feature_jobs import Materialization, TrainingSet
from mlmesh.feature_specs import training_set_spec
from mlmesh.features import select

training_sets = typer.Typer(help="Features as they were known at the time of each row of a dataset.", no_args_is_help=True)
materializations = typer.Typer(help="Rows on their way into the online store.", no_args_is_help=True)
_INTERRUPTED = 130
_Job = TypeVar("_Job", TrainingSet, Materialization)
TrainingSetId = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the training set.")]
MaterializationId = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the materialisation.")]


@training_sets.command()
def create(
    service: Annotated[str, typer.Option(help="The feature service.")] = "",
    view: Annotated[list[str] | None, typer.Option(help="A view, instead of a service; may be repeated.")] = None,
    spine: Annotated[str, typer.Option(metavar="DATASET[@VERSION]", help="The dataset with the rows.")] = "",
    label_time: Annotated[str, typer.Option(help="Its column with the moment as of which features are wanted.")] = "",
    output: Annotated[str, typer.Option(metavar="DATASET", help="The dataset that is written.")] = "",
    column: Annotated[list[str] | None, typer.Option(help="A column of the spine that it has; default: all. May be repeated.")] = None,
    version: VersionUsed = 0,
    engine: Annotated[str, typer.Option(help="local, ray, dask or spark.")] = "",
    skip_leak_report: Annotated[bool, typer.Option("--skip-leak-report", help="Leave the leak report out.")] = False,
    spec: Annotated[Path | None, SpecFile] = None,
    validate_only: ValidateOnly = False,
    wait: Wait = True,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a training set, as the options or a file with its TrainingSetSpec say. Exits with 1 where it fails.

    Ctrl-C stops the waiting, not the training set.
    """
    asked: Any
    if spec is not None:
        if any((service, view, spine, label_time, output, column, version, engine, skip_leak_report)):
            raise typer.BadParameter("it has the whole training set; give no other option of one", param_hint="--spec")
        asked = read_spec(spec)
    else:
        if bool(service) == bool(view) or not spine or not label_time or not output:
            raise typer.BadParameter("give --service or --view, --spine, --label-time and --output, or --spec")
        asked = training_set_spec(
            service or [select(name) for name in view or ()],
            spine=_spine(spine),
            label_time=label_time,
            dataset=output,
            columns=column or (),
            version=version,
            engine=engine,
            skip_leak_report=skip_leak_report,
        )
    with connected(url, data_dir) as mesh:
        made = mesh.features.create_training_set(asked, validate_only=validate_only, project=project)
        if wait and not validate_only:
            made = waited(made, mesh.features.wait_for_training_set, "training-sets", project=project, as_json=as_json)
    if as_json:
        print_json(plain(made))
    elif validate_only:
        console().print("the training set can be made; nothing was computed", soft_wrap=True)
    elif not made.is_done:
        console().print(f"training set {made.id} is {coloured(made.state)}", soft_wrap=True)
    else:
        console().print(f"{made.dataset} version {made.dataset_version}: {made.row_count} rows", soft_wrap=True, markup=False)
        _print_leaks(made)


@training_sets.command("list")
def list_training_sets(
    filter_: Filter = "", limit: Limit = 100, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List training sets, the newest first."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.list_training_sets(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    rows = (
        (
            *(one.id, state_text(one.state), one.dataset, one.dataset_version, one.row_count or "", _what(one.spec)),
            *(one.error.reason if one.error is not None else "", one.creator, moment(one.create_time)),
        )
        for one in found
    )
    print_table(("ID", "STATE", "DATASET", "VERSION", "ROWS", "FEATURES", "ERROR", "BY", "CREATED"), rows, empty="no training sets")


@training_sets.command()
def show(training_set_id: TrainingSetId, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show a training set: what it is made of, and its leak report."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.get_training_set(training_set_id, project=project)
    if as_json:
        print_json(plain(found))
        return
    spine = found.spec.get("spine", {})
    print_table(
        ("", ""),
        (
            ("id", found.id),
            ("features", _what(found.spec)),
            ("spine", f"{spine.get('dataset', '')}@{found.spine_version}, as of {spine.get('label_time_column', '')}"),
            ("state", state_text(found.state)),
            ("error", f"{found.error.message} ({found.error.reason})" if found.error is not None else ""),
            ("dataset", found.dataset if found.dataset_version is None else f"{found.dataset}@{found.dataset_version}"),
            ("rows", found.row_count or ""),
            ("processing job", found.processing_job_id),
            ("created", f"{moment(found.create_time)} by {found.creator or '-'}"),
            ("started", moment(found.start_time)),
            ("ended", moment(found.end_time)),
        ),
    )
    console().print()
    read = ((f"{one.view}@{one.version}", f"{one.dataset}@{one.dataset_version}") for one in found.inputs)
    print_table(("VIEW", "DATASET"), read)
    _print_leaks(found)


@training_sets.command()
def cancel(training_set_id: TrainingSetId, project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Stop a training set."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.cancel_training_set(training_set_id, project=project)
    console().print(f"training set {found.id} is {coloured(found.state)}", soft_wrap=True)


@materializations.command("list")
def list_materializations(
    filter_: Filter = "", limit: Limit = 100, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List materialisations, the newest first."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.list_materializations(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    rows = (
        (
            *(one.id, f"{one.view}@{one.version}", state_text(one.state), one.effective_mode or one.mode, one.dataset_version),
            *(one.read_rows, one.written_rows, one.error.reason if one.error is not None else "", one.creator, moment(one.create_time)),
        )
        for one in found
    )
    columns = ("ID", "VIEW", "STATE", "MODE", "DATASET VERSION", "READ", "WRITTEN", "ERROR", "BY", "CREATED")
    print_table(columns, rows, empty="no materialisations")


@materializations.command("show")
def show_materialization(
    materialization_id: MaterializationId, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Show a materialisation: how it stands, and what it has written."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.get_materialization(materialization_id, project=project)
    if as_json:
        print_json(plain(found))
        return
    print_table(
        ("", ""),
        (
            ("id", found.id),
            ("view", f"{found.view}@{found.version}"),
            ("mode", found.mode),
            ("what was done", found.effective_mode),
            ("state", state_text(found.state)),
            ("error", f"{found.error.message} ({found.error.reason})" if found.error is not None else ""),
            ("processing job", found.processing_job_id),
            ("dataset version", found.dataset_version),
            ("rows read", found.read_rows),
            ("rows written", found.written_rows),
            ("not newer", found.kept_newer_rows),
            ("created", f"{moment(found.create_time)} by {found.creator or '-'}"),
            ("started", moment(found.start_time)),
            ("ended", moment(found.end_time)),
        ),
    )


@materializations.command("cancel")
def cancel_materialization(materialization_id: MaterializationId, project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Stop a materialisation. What it has written stays."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.cancel_materialization(materialization_id, project=project)
    console().print(f"materialization {found.id} is {coloured(found.state)}", soft_wrap=True)


def waited(job: _Job, wait: Callable[..., _Job], group: str, *, project: str, as_json: bool) -> _Job:
    """Waits until a job is done.

    Args:
        job: The job.
        wait: Waits for it, by its identifier.
        group: The commands about such jobs.
        project: Its project.
        as_json: Whether one that fails is printed as JSON.

    Raises:
        mlmesh.errors.FeatureJobFailed: It failed.
        typer.Exit: The user stops waiting.
    """
    try:
        return wait(job.id, project=project)
    except KeyboardInterrupt:
        print_error("stopped waiting", f"{job.id} goes on: `mlmesh features {group} show {job.id}`")
        raise typer.Exit(_INTERRUPTED) from None
    except FeatureJobFailed as error:
        if as_json:
            print_json(plain(error.job))
        raise


def _spine(text: str) -> str | tuple[str, int]:
    dataset, marked, version = text.partition("@")
    if not dataset or (marked and not version.isdecimal()):
        raise typer.BadParameter(f"{text!r} is not DATASET[@VERSION]", param_hint="--spine")
    return (dataset, int(version)) if marked else dataset


def _what(spec: Mapping[str, Any]) -> str:
    if service := spec.get("feature_service"):
        return f"{service}@{spec.get('feature_service_version', 'newest')}"
    return ", ".join(one["view"] for one in spec.get("selections", ()))


def _print_leaks(found: TrainingSet) -> None:
    if found.leak_report:
        console().print()
        rows = (
            (one.view, one.rows, one.changed_rows, one.not_found_rows, one.outside_max_age_rows, one.late_view_rows)
            for one in found.leak_report
        )
        print_table(("VIEW", "ROWS", "LEAKS KEPT OUT", "NOT FOUND", "TOO OLD", "LATE ROWS OF THE VIEW"), rows)
    if found.on_demand_replay:
        console().print()
        replays = ((one.feature, one.rows, one.different_rows) for one in found.on_demand_replay)
        print_table(("ON DEMAND", "COMPUTED AGAIN", "DIFFERENT"), replays)
