"""Commands about features: `mlmesh features …`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from mlmesh.cli import feast_import, feature_entities, feature_jobs, feature_services
from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.definition_options import (
    Description,
    DisplayName,
    Etag,
    Filter,
    Label,
    Limit,
    SpecFile,
    ValidateOnly,
    VersionShown,
    VersionUsed,
    Wait,
    label_text,
)
from mlmesh.cli.feature_jobs import waited
from mlmesh.cli.features_view import print_lineage, print_served, print_statistics, print_view, served_json
from mlmesh.cli.job_options import labels_of, read_spec
from mlmesh.cli.output import coloured, console, moment, plain, print_json, print_table
from mlmesh.feature_views import FeatureView

app = typer.Typer(help="Features of entities: as they are now, and as they were known in the past.", no_args_is_help=True)
app.add_typer(feature_entities.app, name="entities")
app.add_typer(feature_services.app, name="services")
app.add_typer(feature_jobs.training_sets, name="training-sets")
app.add_typer(feature_jobs.materializations, name="materializations")
app.command("import-feast")(feast_import.import_feast)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the view.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--entity",
        metavar="KEY=VALUE",
        help="A join key, or several of them as a JSON list: user_id=7, 'user_id=[7, 8]'; may be repeated.",
    ),
]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", metavar="NAME=VALUE", help="What on-demand features need, likewise; may be repeated.")
]


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
    """Make a feature view of a file that has its FeatureViewSpec as JSON or YAML. Nothing is computed or materialised yet."""
    with connected(url, data_dir) as mesh:
        made = mesh.features.create_feature_view(
            name,
            read_spec(spec),
            display_name=display_name or "",
            description=description or "",
            labels=labels_of(label),
            validate_only=validate_only,
            project=project,
        )
    _print_made(made, as_json=as_json)


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
    """Change a feature view. What is not given stays; labels are replaced together. Another spec is another version."""
    with connected(url, data_dir) as mesh:
        changed = mesh.features.update_feature_view(
            name,
            spec=read_spec(spec) if spec is not None else None,
            display_name=display_name,
            description=description,
            labels=labels_of(label) if label is not None else None,
            etag=etag,
            validate_only=validate_only,
            project=project,
        )
    _print_made(changed, as_json=as_json)


@app.command("list")
def list_views(
    filter_: Filter = "", limit: Limit = 100, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List feature views."""
    _list("", filter_, limit, project, url, data_dir, as_json)


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Text that has to be in the name, the description or a feature.")],
    filter_: Filter = "",
    limit: Limit = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Search feature views by their names, descriptions and features."""
    _list(text, filter_, limit, project, url, data_dir, as_json)


@app.command()
def show(
    name: Name, version: VersionShown = None, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Show a feature view: its features, where they come from, and how the online store stands."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.get_feature_view(name, version=version, project=project)
    if as_json:
        print_json(plain(found))
    else:
        print_view(found)


@app.command()
def versions(
    name: Name, limit: Limit = 100, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List the versions of a feature view, the newest first."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.list_feature_view_versions(name, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    rows = (
        (
            *(one.version, one.dataset, ", ".join(each["name"] for each in one.spec.get("features", ()))),
            *(moment(one.online.materialize_time) if one.online is not None else "", one.creator, moment(one.create_time)),
        )
        for one in found
    )
    print_table(("VERSION", "DATASET", "FEATURES", "MATERIALISED", "BY", "CREATED"), rows)


@app.command()
def lineage(name: Name, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show what a feature view is made of, and which services, training sets and models are made of it."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.get_feature_view_lineage(name, project=project)
    if as_json:
        print_json(plain(found))
    else:
        print_lineage(found)


@app.command()
def statistics(
    name: Name,
    version: VersionShown = None,
    baseline: Annotated[
        int | None,
        typer.Option(help="Version of the dataset that drift is measured against; default: the first that is still there.", min=0),
    ] = None,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show how fresh a feature view is, what its values are, and how they have moved."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.get_feature_view_statistics(name, version=version, baseline_version=baseline, project=project)
    if as_json:
        print_json(plain(found))
    else:
        print_statistics(found)


@app.command()
def delete(name: Name, etag: Etag = "", project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Delete a feature view that no service has, with its versions and what is online of them. Datasets stay."""
    with connected(url, data_dir) as mesh:
        mesh.features.delete_feature_view(name, etag=etag, project=project)
    console().print(f"feature view {name} is deleted", soft_wrap=True, markup=False)


@app.command()
def serve(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="The feature service.")] = "",
    entity: Columns = None,
    input_: Inputs = None,
    view: Annotated[list[str] | None, typer.Option(help="A view, instead of a service; may be repeated.")] = None,
    version: VersionUsed = 0,
    event_times: Annotated[bool, typer.Option("--event-times", help="With --json: from when on the values are true.")] = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show the newest features of entities."""
    if bool(service) == bool(view):
        raise typer.BadParameter("give a feature service, or --view")
    if not entity:
        raise typer.BadParameter("give the join keys: --entity user_id=7", param_hint="--entity")
    keys, inputs = _columns(entity, "--entity"), _columns(input_ or (), "--input")
    with connected(url, data_dir) as mesh:
        found = mesh.features.serve(
            service or view or [], keys, inputs=inputs, version=version, include_event_times=event_times, project=project
        )
    if as_json:
        print_json(served_json(found, with_event_times=event_times))
    else:
        print_served(found, keys)


@app.command()
def push(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(help="Rows: .json (a list of objects), .ndjson, .parquet or .arrow (a stream); `-` = NDJSON of standard input."),
    ],
    online: Annotated[bool, typer.Option("--online/--no-online", help="Whether they go into the online store.")] = True,
    offline: Annotated[bool, typer.Option("--offline/--no-offline", help="Whether they go into the dataset.")] = True,
    version: VersionUsed = 0,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Push rows of a view into the online store and into its dataset."""
    rows = _rows(file)
    with connected(url, data_dir) as mesh:
        done = mesh.features.push(name, rows, online=online, offline=offline, version=version, project=project)
    if as_json:
        print_json(plain(done))
        return
    if online:
        kept = f"; {done.kept_newer_rows} were not newer than what is there" if done.kept_newer_rows else ""
        console().print(f"{done.written_rows} rows are online{kept}", soft_wrap=True)
    if done.ingestion_id:
        console().print(
            f"ingestion {done.ingestion_id} writes them into the dataset: `mlmesh data show {done.ingestion_id}`", soft_wrap=True
        )


@app.command()
def materialize(
    name: Name,
    full: Annotated[bool, typer.Option("--full", help="Everything: afterwards the online store is what the dataset says.")] = False,
    version: VersionUsed = 0,
    wait: Wait = True,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Bring the online store up to date with the source of a view. Exits with 1 where that fails. Ctrl-C stops the waiting alone."""
    with connected(url, data_dir) as mesh:
        done = mesh.features.materialize_feature_view(name, mode="full" if full else "incremental", version=version, project=project)
        if wait:
            done = waited(done, mesh.features.wait_for_materialization, "materializations", project=project, as_json=as_json)
    if as_json:
        print_json(plain(done))
    elif not done.is_done:
        console().print(f"materialization {done.id} is {coloured(done.state)}", soft_wrap=True)
    else:
        what = f"{done.read_rows} rows read, {done.written_rows} written, {done.kept_newer_rows} not newer than what is there"
        console().print(f"{done.effective_mode}: {what}", soft_wrap=True, markup=False)


def _list(query: str, filter_: str, limit: int, project: str, url: str | None, data_dir: Path | None, as_json: bool) -> None:
    with connected(url, data_dir) as mesh:
        found = mesh.features.list_feature_views(query, filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    rows = (
        (
            *(one.name, one.version, ", ".join(one.spec.get("entities", ())), ", ".join(one.features), one.dataset),
            *(moment(one.online.materialize_time) if one.online is not None else "offline only", label_text(one.labels), one.creator),
        )
        for one in found
    )
    print_table(("NAME", "VERSION", "ENTITIES", "FEATURES", "DATASET", "MATERIALISED", "LABELS", "BY"), rows, empty="no feature views")


def _columns(texts: Iterable[str], option: str) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not name or not separator:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        try:
            read = json.loads(value)
        except ValueError:
            read = value
        columns.setdefault(name, []).extend(read if isinstance(read, list) else [read])
    return columns


def _rows(file: Path) -> Any:
    try:
        if str(file) == "-":
            return [json.loads(line) for line in sys.stdin if line.strip()]
        if file.suffix == ".arrow":
            return file.read_bytes()
        if file.suffix == ".parquet":
            return _parquet(file)
        text = file.read_text("utf-8")
        return json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{file} cannot be read: {error}", param_hint="FILE") from None


def _parquet(file: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise typer.BadParameter("Parquet needs pyarrow: `pip install pyarrow`; or give JSON", param_hint="FILE") from None
    return parquet.read_table(file)


def _print_made(view: FeatureView, *, as_json: bool) -> None:
    if as_json:
        print_json(plain(view))
        return
    kept = "is kept offline alone" if view.online is None else "can be served"
    console().print(f"feature view {view.name} version {view.version} of {view.dataset} {kept}", soft_wrap=True, markup=False)
