"""Commands about rows that were left out of a dataset: `mlmesh datasets quarantine …`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.output import console, moment, plain, print_error, print_json, print_table

app = typer.Typer(help="See, repair, replay and discard rows that were left out of a dataset.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the dataset.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Identifier of a row; may be repeated.")]
Filter = Annotated[str, typer.Option("--filter", help="AIP-160 filter, for example 'reason = \"VALUE_DOES_NOT_FIT\"'.")]


@app.command("list")
def list_rows(
    name: Name,
    filter_: Filter = "",
    limit: Annotated[int, typer.Option(help="Most rows to show.", min=1)] = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the rows in quarantine, those of the newest ingestion first. With --json also what they have in them."""
    with connected(url, data_dir) as mesh:
        found = mesh.quarantine.list_quarantined_rows(name, filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(row) for row in found])
        return
    rows = ((one.id, one.place or one.row, one.column, one.value, one.reason, moment(one.quarantine_time)) for one in found)
    print_table(("ID", "ROW", "COLUMN", "VALUE", "WHY NOT", "SINCE"), rows, empty="no rows in quarantine")


@app.command()
def replay(
    name: Name,
    row_ids: Ids = None,
    filter_: Filter = "",
    repair: Annotated[
        list[str] | None,
        typer.Option(
            help="ID={...}: JSON of the values that take the place of a row's own, by column; may be repeated.", metavar="ID=JSON"
        ),
    ] = None,
    mode: Annotated[str, typer.Option(help="append or upsert.")] = "append",
    key: Annotated[list[str] | None, typer.Option(help="Column that tells rows apart, for upsert; may be repeated.")] = None,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Write rows in quarantine into the dataset: those that are named, filtered or repaired, or else all. Those that do not fit stay."""
    repairs = dict(_repair(text) for text in repair or ())
    with connected(url, data_dir) as mesh:
        done = mesh.quarantine.replay_quarantined_rows(
            name, ids=row_ids or (), filter=filter_, repairs=repairs, mode=mode, keys=key or (), project=project
        )
    if as_json:
        print_json(plain(done))
        return
    counts = f"{done.rows_added} rows added, {done.rows_updated} updated, {done.rows_quarantined} left in quarantine"
    console().print(f"{name}: {counts}", soft_wrap=True)
    for warning in done.warnings:
        console().print(f"warning: {warning}", markup=False, soft_wrap=True)
    if done.rejected:
        rows = ((one.row, one.column, one.value, one.reason) for one in done.rejected)
        print_table(("ROW", "COLUMN", "VALUE", "WHY NOT"), rows)


@app.command()
def discard(
    name: Name,
    row_ids: Ids = None,
    filter_: Filter = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Remove rows from quarantine for good: those that are named or filtered, or else all."""
    if not yes:
        which = "these rows" if row_ids or filter_ else "all rows"
        typer.confirm(f"Remove {which} from the quarantine of {name}, for good?", abort=True)
    with connected(url, data_dir) as mesh:
        count = mesh.quarantine.discard_quarantined_rows(name, ids=row_ids or (), filter=filter_, project=project)
    console().print(f"removed {count} rows from the quarantine of {name}", soft_wrap=True)


def _repair(text: str) -> tuple[str, dict[str, Any]]:
    row_id, _, values = text.partition("=")
    try:
        read = json.loads(values)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        print_error(f"{text!r} is no repair", 'write it as ID={"column": value}')
        raise typer.Exit(2)
    return row_id, read
