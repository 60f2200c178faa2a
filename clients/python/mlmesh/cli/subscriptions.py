"""Commands about topics of Kafka that are written into datasets: `mlmesh data subscriptions …`."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.output import coloured, console, moment, plain, print_json, print_table, state_text
from mlmesh.cli.reading_options import ColumnTypes, types_of
from mlmesh.ingestion_options import SchemaContract
from mlmesh.subscriptions import Payload, Subscription

app = typer.Typer(help="Write topics of Kafka into datasets, continuously.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the subscription.")]
_Json = typer.Option(help="File with the JSON of an Avro schema.", exists=True, dir_okay=False)
_Descriptors = typer.Option(
    help="File that `protoc --descriptor_set_out --include_imports` made; needs --protobuf-message.", exists=True, dir_okay=False
)


@app.command()
def create(
    name: Name,
    topic: Annotated[list[str], typer.Option(help="A topic; may be repeated.")],
    dataset: Annotated[str, typer.Option(help="The dataset; made where there is none.")],
    cluster: Annotated[str, typer.Option(help="The Kafka: one of those that the server's setting names.")],
    group: Annotated[str, typer.Option(help="Consumer group; default: mlmesh.PROJECT.NAME.")] = "",
    avro_schema: Annotated[Path | None, _Json] = None,
    protobuf_descriptors: Annotated[Path | None, _Descriptors] = None,
    protobuf_message: Annotated[str, typer.Option(help="Full name of the message of Protocol Buffers.")] = "",
    has_schema_id: Annotated[bool, typer.Option("--schema-id", help="Messages begin with the identifier of a schema.")] = False,
    has_origin: Annotated[bool, typer.Option("--origin", help="Add columns with where each row comes from.")] = False,
    column_type: ColumnTypes = None,
    mode: Annotated[str, typer.Option(help="append or upsert.")] = "append",
    key: Annotated[list[str] | None, typer.Option(help="Column that tells rows apart, for upsert; may be repeated.")] = None,
    tables: Annotated[str, typer.Option(help="Whether the dataset may be made: evolve or freeze.")] = "",
    columns: Annotated[str, typer.Option(help="Columns it does not have: evolve, freeze, discard_row or discard_value.")] = "",
    types: Annotated[str, typer.Option(help="Values that do not fit their column: evolve, freeze, discard_row or discard_value.")] = "",
    unreadable: Annotated[str, typer.Option(help="Messages that are no rows: discard_row or freeze.")] = "discard_row",
    start: Annotated[str, typer.Option(help="earliest or latest.")] = "earliest",
    commit_interval_s: Annotated[float, typer.Option("--commit-interval", help="Longest wait of a message, in seconds.")] = 1.0,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Begin to write topics into a dataset. Messages are JSON objects, unless a schema is given."""
    payload = Payload(
        format="avro" if avro_schema else "protobuf" if protobuf_descriptors or protobuf_message else "json",
        avro_schema=avro_schema.read_text("utf-8") if avro_schema else "",
        protobuf_descriptors=protobuf_descriptors.read_bytes() if protobuf_descriptors else b"",
        protobuf_message=protobuf_message,
        has_schema_id=has_schema_id,
        has_origin=has_origin,
        column_types=types_of(column_type),
    )
    with connected(url, data_dir) as mesh:
        found = mesh.subscriptions.create_subscription(
            name,
            dataset=dataset,
            cluster=cluster,
            topics=topic,
            group=group,
            payload=payload,
            mode=mode,
            keys=key or (),
            schema_contract=SchemaContract(tables=tables, columns=columns, types=types),
            unreadable_messages=unreadable,
            start=start,
            commit_interval_s=commit_interval_s,
            project=project,
        )
    if as_json:
        print_json(_plain(found))
        return
    console().print(f"subscription {found.name} writes into {found.dataset}: `mlmesh data subscriptions show {found.name}`", soft_wrap=True)


@app.command("list")
def list_subscriptions(
    filter_: Annotated[str, typer.Option("--filter", help="AIP-160 filter, for example 'state = \"FAILED\"'.")] = "",
    limit: Annotated[int, typer.Option(help="Most subscriptions to show.", min=1)] = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List subscriptions by name."""
    with connected(url, data_dir) as mesh:
        found = mesh.subscriptions.list_subscriptions(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([_plain(one) for one in found])
        return
    rows = (
        (
            *(one.name, one.dataset, state_text(one.state), one.lag, one.rows_written, one.rows_rejected, one.cluster),
            *(", ".join(one.topics), one.error.reason if one.error is not None else ""),
        )
        for one in found
    )
    columns = ("NAME", "DATASET", "STATE", "LAG", "ROWS", "REJECTED", "KAFKA", "TOPICS", "ERROR")
    print_table(columns, rows, empty="no subscriptions")


@app.command()
def show(name: Name, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show a subscription: how far it is, and what it left out."""
    with connected(url, data_dir) as mesh:
        found = mesh.subscriptions.get_subscription(name, project=project)
    if as_json:
        print_json(_plain(found))
        return
    print_table(
        ("", ""),
        (
            ("name", found.name),
            ("dataset", found.dataset),
            ("topics", f"{', '.join(found.topics)} of {found.cluster}, as {found.group}"),
            ("payload", found.payload.format),
            ("mode", f"{found.mode} {', '.join(found.keys)}".rstrip()),
            ("state", state_text(found.state)),
            ("error", f"{found.error.message} ({found.error.reason})" if found.error is not None else ""),
            ("version", found.version),
            ("rows", f"{found.rows_written} written, {found.rows_rejected} rejected, {found.lag} to come"),
            ("created", f"{moment(found.create_time)} by {found.creator or '-'}"),
            ("last news", moment(found.update_time)),
        ),
    )
    if found.partitions:
        console().print()
        positions = ((one.topic, one.partition, one.next_offset, one.end_offset, one.lag) for one in found.partitions)
        print_table(("TOPIC", "PARTITION", "NEXT", "END", "LAG"), positions)
    if found.rejected:
        console().print()
        rejected = ((one.column, one.value, one.reason) for one in found.rejected)
        print_table(("MESSAGE", "VALUE", "WHY NOT"), rejected, title=f"the last of {found.rows_rejected} that were left out")


@app.command()
def pause(name: Name, project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Stop reading."""
    with connected(url, data_dir) as mesh:
        _print_state(mesh.subscriptions.pause_subscription(name, project=project))


@app.command()
def resume(name: Name, project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Go on where the dataset ends, after a pause or a failure."""
    with connected(url, data_dir) as mesh:
        _print_state(mesh.subscriptions.resume_subscription(name, project=project))


@app.command()
def delete(name: Name, project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """End a subscription. What it has written stays."""
    with connected(url, data_dir) as mesh:
        mesh.subscriptions.delete_subscription(name, project=project)
    console().print(f"subscription {name} is deleted", soft_wrap=True)


def _plain(found: Subscription) -> dict[str, Any]:
    values = plain(found)
    values["payload"]["protobuf_descriptors"] = base64.b64encode(found.payload.protobuf_descriptors).decode("ascii")
    return values


def _print_state(found: Subscription) -> None:
    console().print(f"subscription {found.name} is {coloured(found.state)}", soft_wrap=True)
