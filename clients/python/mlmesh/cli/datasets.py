"""Commands about datasets: `mlmesh datasets …`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from mlmesh.cli import quarantine
from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.data import ValidateOnly, print_foreseen, print_ingestion
from mlmesh.cli.output import console, human_size, moment, plain, print_json, print_table
from mlmesh.cli.pages import Html, write_page
from mlmesh.cli.profile_view import print_profile

app = typer.Typer(help="Find, look into, roll back and tidy up datasets.", no_args_is_help=True)
app.add_typer(quarantine.app, name="quarantine")
Name = Annotated[str, typer.Argument(help="Name of the dataset.")]
# The first version is 0, so that nothing is not a number here.
OfVersion = Annotated[int | None, typer.Option("--version", help="Version; default: the newest.", min=0)]


@app.command("list")
def list_datasets(
    filter_: Annotated[str, typer.Option("--filter", help="AIP-160 filter, for example 'name : \"flights\"'.")] = "",
    limit: Annotated[int, typer.Option(help="Most datasets to show.", min=1)] = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List datasets."""
    with connected(url, data_dir) as mesh:
        found = mesh.ingestion.list_datasets(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(dataset) for dataset in found])
        return
    rows = ((one.name, one.version, one.row_count, len(one.columns), human_size(one.size_bytes), moment(one.update_time)) for one in found)
    print_table(("NAME", "VERSION", "ROWS", "COLUMNS", "SIZE", "UPDATED"), rows, empty="no datasets")


@app.command()
def show(
    name: Name,
    version: OfVersion = None,
    at: Annotated[datetime | None, typer.Option(help="The dataset as it was then, in UTC.")] = None,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a dataset and its columns, as it is or was."""
    with connected(url, data_dir) as mesh:
        found = mesh.ingestion.get_dataset(name, version=version, read_time=at and at.replace(tzinfo=UTC), project=project)
    if as_json:
        print_json(plain(found))
        return
    print_table(
        ("", ""),
        (
            ("name", found.name),
            ("project", found.project),
            ("version", found.version),
            ("rows", found.row_count),
            ("size", human_size(found.size_bytes)),
            ("updated", moment(found.update_time)),
            ("created", moment(found.create_time)),
            ("table", found.uri),
        ),
    )
    console().print()
    print_table(("COLUMN", "TYPE"), ((column.name, column.type) for column in found.columns), empty="no columns")


@app.command()
def versions(
    name: Name,
    limit: Annotated[int, typer.Option(help="Most versions to show.", min=1)] = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the versions of a dataset, the newest first."""
    with connected(url, data_dir) as mesh:
        found = mesh.ingestion.list_dataset_versions(name, project=project).to_list(limit)
    if as_json:
        print_json([plain(version) for version in found])
        return
    rows = ((one.version, moment(one.create_time), one.operation, one.ingestion_id) for one in found)
    print_table(("VERSION", "CREATED", "BY", "INGESTION"), rows, empty="no versions")


@app.command()
def schemas(
    name: Name,
    limit: Annotated[int, typer.Option(help="Most schemas to show.", min=1)] = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the schemas that a dataset has had, the newest first, and what changed."""
    with connected(url, data_dir) as mesh:
        found = mesh.schemas.list_schema_versions(name, project=project).to_list(limit)
    if as_json:
        print_json([plain(schema) for schema in found])
        return
    rows = ((one.version, moment(one.create_time), len(one.columns), "\n".join(one.changes), one.ingestion_id) for one in found)
    print_table(("SINCE VERSION", "CREATED", "COLUMNS", "CHANGES", "INGESTION"), rows, empty="no schemas")


@app.command()
def change_schema(
    name: Name,
    rename: Annotated[list[str] | None, typer.Option(help="OLD=NEW; may be repeated. Names may be exchanged.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column to drop; may be repeated.")] = None,
    validate_only: ValidateOnly = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Whether to wait until it is done.")] = True,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Rename and drop columns of a dataset, as a new version. Exits with 1 where that fails."""
    renamed = dict(map(_renaming, rename or ()))
    with connected(url, data_dir) as mesh:
        ingestion = mesh.schemas.change_schema(
            name, rename=renamed, drop=drop or (), validate_only=validate_only, wait=False, project=project
        )
        if not validate_only:
            print_ingestion(mesh, ingestion, wait=wait, project=project, as_json=as_json)
            return
    print_foreseen(ingestion, as_json=as_json)


@app.command()
def preview(
    name: Name,
    version: OfVersion = None,
    limit: Annotated[int, typer.Option(help="Most rows to show.", min=1, max=1000)] = 20,
    skip_rows: Annotated[int, typer.Option(help="Rows to leave out at the beginning.", min=0)] = 0,
    column: Annotated[list[str] | None, typer.Option(help="Column to show; may be repeated; default: all.")] = None,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show some rows of a dataset."""
    with connected(url, data_dir) as mesh:
        found = mesh.ingestion.preview_dataset(
            name, version=version, limit=limit, skip_rows=skip_rows, columns=column or (), project=project
        )
    if as_json:
        print_json(plain(found))
        return
    names = [one.name for one in found.columns]
    print_table(names, ([_cell(row.get(one)) for one in names] for row in found.rows), empty="no rows")


@app.command()
def profile(
    name: Name,
    version: OfVersion = None,
    html: Html = None,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show what a dataset has in it: missing and different values, ranges and distributions of its columns."""
    with connected(url, data_dir) as mesh:
        if html is not None:
            write_page(html, mesh.profiles.render_dataset_profile(name, version=version, project=project))
            return
        found = mesh.profiles.get_dataset_profile(name, version=version, project=project)
    if as_json:
        print_json(plain(found))
        return
    print_profile(found)


@app.command()
def rollback(
    name: Name,
    version: Annotated[int, typer.Argument(help="The version whose rows are wanted.", min=0)],
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make the rows of an earlier version those of a new one. Nothing is lost."""
    with connected(url, data_dir) as mesh:
        found = mesh.ingestion.rollback_dataset(name, version, project=project)
    if as_json:
        print_json(plain(found))
        return
    console().print(f"{name} version {found.version} has the {found.row_count} rows of version {version}", soft_wrap=True)


@app.command()
def compact(name: Name, project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Join small files of a dataset into large ones, which reads faster."""
    with connected(url, data_dir) as mesh:
        done = mesh.ingestion.compact_dataset(name, project=project)
    console().print(f"{name} version {done.version}: {done.removed_file_count} files became {done.added_file_count}", soft_wrap=True)


@app.command()
def vacuum(
    name: Name,
    keep_days: Annotated[int, typer.Option(help="Days for which replaced versions stay readable.", min=1)] = 7,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Remove files that only versions need which were replaced long ago."""
    with connected(url, data_dir) as mesh:
        done = mesh.ingestion.vacuum_dataset(name, retention=timedelta(days=keep_days), project=project)
    console().print(f"removed {done.removed_file_count} files of {name}", soft_wrap=True)


@app.command()
def suggest(name: Name, version: OfVersion = None, project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Print a suite of expectations as JSON, made from what a dataset has; for `mlmesh data validate` and `data ingest --gate`."""
    with connected(url, data_dir) as mesh:
        print_json(mesh.ingestion.suggest_expectations(name, version=version, project=project))


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Delete a dataset with all its versions, for good."""
    if not yes:
        typer.confirm(f"Delete {name} and all its versions, for good?", abort=True)
    with connected(url, data_dir) as mesh:
        mesh.ingestion.delete_dataset(name, project=project)
    console().print(f"deleted {name}")


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not OLD=NEW", param_hint="--rename")
    return old, new


def _cell(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
