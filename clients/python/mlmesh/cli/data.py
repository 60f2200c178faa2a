"""Commands that take data in and check them: `mlmesh data …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlmesh.cli import subscriptions
from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.output import coloured, console, moment, plain, print_error, print_json, print_table, state_text
from mlmesh.cli.pages import HTML_HELP, write_page
from mlmesh.cli.reading_options import ColumnTypes, Delimiter, Encoding, Format, Header, JsonPath, Sheet, SkipRows, read_options
from mlmesh.errors import IngestionFailed
from mlmesh.ingestion_options import ExpectationGate, SchemaContract
from mlmesh.ingestions import Ingestion
from mlmesh.sync.mesh import SyncMesh
from mlmesh.validation_reports import ExpectationResult, ValidationReport

app = typer.Typer(help="Take data into datasets, and check them.", no_args_is_help=True)
app.add_typer(subscriptions.app, name="subscriptions")
_SOURCE_HELP = "A file on this machine; or what the mesh reads itself: s3://bucket/key, file:///folder/on/the/server."
_INTERRUPTED = 130
Identifier = Annotated[str, typer.Argument(metavar="ID", help="Identifier of the ingestion.")]
ValidateOnly = Annotated[bool, typer.Option("--validate-only", help="Write nothing, and say what would be.")]
SourceMode = Annotated[str, typer.Option(help="append, overwrite or upsert.")]


@app.command()
def ingest(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset; made where there is none.")],
    source: Annotated[str, typer.Argument(help=_SOURCE_HELP)],
    mode: SourceMode = "append",
    key: Annotated[list[str] | None, typer.Option(help="Column that tells rows apart, for upsert; may be repeated.")] = None,
    format: Format = "",
    delimiter: Delimiter = "",
    encoding: Encoding = "",
    has_header: Header = None,
    skip_rows: SkipRows = 0,
    sheet: Sheet = "",
    json_path: JsonPath = "",
    column_type: ColumnTypes = None,
    tables: Annotated[str, typer.Option(help="Whether the dataset may be made: evolve or freeze.")] = "",
    columns: Annotated[str, typer.Option(help="Columns it does not have: evolve, freeze, discard_row or discard_value.")] = "",
    types: Annotated[str, typer.Option(help="Values that do not fit their column: evolve, freeze, discard_row or discard_value.")] = "",
    gate: Annotated[Path | None, typer.Option(help="JSON of a suite of expectations that the data have to meet.")] = None,
    gate_mode: Annotated[str, typer.Option(help="Where they do not: freeze, discard_row or evolve.")] = "",
    validate_only: ValidateOnly = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Whether to wait until it is done.")] = True,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take data into a dataset. Exits with 1 where it fails.

    All of the data become one version of the dataset, or nothing does. Ctrl-C stops the waiting, not the ingestion.
    """
    read = read_options(format, delimiter, encoding, has_header, skip_rows, sheet, json_path, column_type)
    contract = SchemaContract(tables=tables, columns=columns, types=types)
    expected = None if gate is None else ExpectationGate(suite=gate, mode=gate_mode)
    with connected(url, data_dir) as mesh:
        ingestion = mesh.ingestion.ingest_data(
            dataset,
            source,
            mode=mode,
            keys=key or (),
            read=read,
            schema_contract=contract,
            gate=expected,
            validate_only=validate_only,
            wait=False,
            project=project,
            progress=not as_json,
        )
        if not validate_only:
            print_ingestion(mesh, ingestion, wait=wait, project=project, as_json=as_json)
            return
    print_foreseen(ingestion, as_json=as_json)


def print_ingestion(mesh: SyncMesh, ingestion: Ingestion, *, wait: bool, project: str, as_json: bool) -> None:
    """Waits for an ingestion if wanted, and prints what became of it.

    Raises:
        mlmesh.errors.IngestionFailed: It failed, or was cancelled.
    """
    if wait:
        try:
            ingestion = mesh.ingestion.wait_for_ingestion(ingestion.id, project=project)
        except KeyboardInterrupt:
            print_error("stopped waiting", f"ingestion {ingestion.id} goes on: `mlmesh data show {ingestion.id}`")
            raise typer.Exit(_INTERRUPTED) from None
        except IngestionFailed as error:
            if as_json:
                print_json(plain(error.ingestion))
            else:
                _print_rejected(error.ingestion)
            raise
    if as_json:
        print_json(plain(ingestion))
        return
    _print_outcome(ingestion)


def print_foreseen(ingestion: Ingestion, *, as_json: bool) -> None:
    """Prints how an ingestion would end. Exits with 1 where it would fail."""
    if as_json:
        print_json(plain(ingestion))
    elif ingestion.error is not None:
        console().print(f"it would fail: {ingestion.error.message} ({ingestion.error.reason})", markup=False, soft_wrap=True)
        _print_rejected(ingestion)
    else:
        counts = f"{ingestion.rows_read} rows read, {ingestion.rows_added} would be added, {ingestion.rows_updated} updated"
        console().print(f"{counts}, {ingestion.rows_rejected} rejected; nothing is written", soft_wrap=True)
        _print_details(ingestion)
        if ingestion.affected:
            console().print()
            rows = ((one.kind, one.name, one.version, ", ".join(one.columns) or "?") for one in ingestion.affected)
            print_table(("KIND", "NAME", "VERSION", "COLUMNS THAT CHANGE"), rows, title="what uses the dataset")
    if ingestion.error is not None:
        raise typer.Exit(1)


@app.command("list")
def list_ingestions(
    filter_: Annotated[str, typer.Option("--filter", help="AIP-160 filter, for example 'state = \"FAILED\"'.")] = "",
    limit: Annotated[int, typer.Option(help="Most ingestions to show.", min=1)] = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List ingestions, the newest first."""
    with connected(url, data_dir) as mesh:
        found = mesh.ingestion.list_ingestions(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(ingestion) for ingestion in found])
        return
    rows = (
        (
            *(one.id, one.dataset, one.mode, state_text(one.state), one.version, one.rows_read, one.rows_rejected, one.source),
            *(one.creator, moment(one.create_time)),
        )
        for one in found
    )
    columns = ("ID", "DATASET", "MODE", "STATE", "VERSION", "ROWS", "REJECTED", "SOURCE", "BY", "CREATED")
    print_table(columns, rows, empty="no ingestions")


@app.command()
def show(ingestion_id: Identifier, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show an ingestion: how it stands, what it wrote, and what it left out."""
    with connected(url, data_dir) as mesh:
        found = mesh.ingestion.get_ingestion(ingestion_id, project=project)
    if as_json:
        print_json(plain(found))
        return
    print_table(
        ("", ""),
        (
            ("id", found.id),
            ("dataset", found.dataset),
            ("source", found.source),
            ("mode", found.mode),
            ("state", state_text(found.state)),
            ("error", f"{found.error.message} ({found.error.reason})" if found.error is not None else ""),
            ("version", found.version),
            ("rows", f"{found.rows_read} read, {found.rows_added} added, {found.rows_updated} updated, {found.rows_rejected} rejected"),
            ("schema changes", "\n".join(found.schema_changes)),
            ("warnings", "\n".join(found.warnings)),
            ("created", f"{moment(found.create_time)} by {found.creator or '-'}"),
            ("started", moment(found.start_time)),
            ("ended", moment(found.end_time)),
        ),
    )
    _print_rejected(found)


@app.command()
def report(
    ingestion_id: Identifier,
    html: Annotated[Path, typer.Option(help=HTML_HELP, dir_okay=False)],
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Write a page about an ingestion: counts, what was left out and why, what the gate found."""
    with connected(url, data_dir) as mesh:
        write_page(html, mesh.profiles.render_ingestion(ingestion_id, project=project))


@app.command()
def cancel(ingestion_id: Identifier, project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Stop an ingestion that has not ended; nothing of it is written then."""
    with connected(url, data_dir) as mesh:
        found = mesh.ingestion.cancel_ingestion(ingestion_id, project=project)
    console().print(f"ingestion {found.id} is {coloured(found.state)}", soft_wrap=True)


@app.command()
def validate(
    suite: Annotated[
        Path, typer.Argument(metavar="SUITE", help="JSON file with a suite of Great Expectations.", exists=True, dir_okay=False)
    ],
    dataset: Annotated[str, typer.Option(help="The dataset to check; or else --source.")] = "",
    version: Annotated[int | None, typer.Option(help="Version of the dataset; default: the newest.", min=0)] = None,
    source: Annotated[str, typer.Option(help=_SOURCE_HELP)] = "",
    format: Format = "",
    delimiter: Delimiter = "",
    encoding: Encoding = "",
    has_header: Header = None,
    skip_rows: SkipRows = 0,
    sheet: Sheet = "",
    json_path: JsonPath = "",
    column_type: ColumnTypes = None,
    most_rows: Annotated[int, typer.Option("--rows", help="Most unexpected rows of each expectation.", min=0, max=1000)] = 20,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Check a dataset, or data that are in none yet, against expectations.

    Exits with 1 where an expectation of severity critical is not met. Those of severity warning only show.
    """
    if bool(dataset) == bool(source):
        print_error("give either --dataset or --source")
        raise typer.Exit(2)
    read = read_options(format, delimiter, encoding, has_header, skip_rows, sheet, json_path, column_type) if source else None
    with connected(url, data_dir) as mesh:
        report = mesh.ingestion.validate_data(
            suite,
            dataset=dataset,
            version=version,
            source=source or None,
            read=read,
            max_unexpected_rows=most_rows,
            project=project,
            progress=not as_json,
        )
    if as_json:
        print_json(plain(report))
    else:
        _print_report(report)
    if not report.is_usable:
        raise typer.Exit(1)


def _print_outcome(ingestion: Ingestion) -> None:
    if not ingestion.is_done:
        console().print(f"ingestion {ingestion.id} into {ingestion.dataset} is {coloured(ingestion.state)}", soft_wrap=True)
        return
    counts = f"{ingestion.rows_added} rows added, {ingestion.rows_updated} updated, {ingestion.rows_rejected} rejected"
    console().print(f"{ingestion.dataset} version {ingestion.version}: {counts}", soft_wrap=True)
    _print_details(ingestion)


def _print_details(ingestion: Ingestion) -> None:
    for text in (*ingestion.schema_changes, *(f"warning: {warning}" for warning in ingestion.warnings)):
        console().print(text, markup=False, soft_wrap=True)
    _print_rejected(ingestion)


def _print_rejected(ingestion: Ingestion) -> None:
    if ingestion.rejected:
        console().print()
        rows = ((one.row, one.column, one.value, one.reason) for one in ingestion.rejected)
        print_table(("ROW", "COLUMN", "VALUE", "WHY NOT"), rows, title=f"the first of {ingestion.rows_rejected} rejected rows")


def _print_report(report: ValidationReport) -> None:
    rows = (
        (
            *(state_text("passed" if one.success else "warning" if one.severity != "critical" else "failed"), one.type, _subject(one)),
            *(one.severity, _found(one), ", ".join(str(row.row) for row in one.unexpected_rows[:5])),
        )
        for one in report.results
    )
    print_table(("RESULT", "EXPECTATION", "OF", "SEVERITY", "FOUND", "FIRST ROWS"), rows, empty="no expectations")
    verdict = f"{report.successful_count} of {len(report.results)} expectations are met by {report.row_count} rows"
    console().print(f"\n{coloured(report.status)}: {verdict}", soft_wrap=True)


def _subject(result: ExpectationResult) -> str:
    named = (result.kwargs.get(key) for key in ("column", "column_A", "column_B"))
    listed = result.kwargs.get("column_list") or result.kwargs.get("column_set") or ()
    return ", ".join(str(name) for name in (*named, *listed) if name is not None)


def _found(result: ExpectationResult) -> str:
    if result.reason:
        return f"{result.message} ({result.reason})" if result.message else result.reason
    if result.unexpected_count is not None:
        return f"{result.unexpected_count} of {result.element_count} unexpected"
    return "" if result.observed_value is None else str(result.observed_value)
