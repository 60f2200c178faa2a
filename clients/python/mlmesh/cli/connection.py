"""The options by which every command finds its mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

import mlmesh

Url = Annotated[str | None, typer.Option(help="Address of the mesh; default: the one on this machine.", envvar="MLMESH_URL")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Data directory of the mesh on this machine.", envvar="MLMESH_DATA_DIR", show_default="~/.mlmesh", file_okay=False),
]
Project = Annotated[str, typer.Option(help="Project; default: `default`.", envvar="MLMESH_PROJECT")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Filter = Annotated[str, typer.Option(help="AIP-160 filter.")]
Version = Annotated[int, typer.Option(help="Version number.", min=0)]
Alias = Annotated[str, typer.Option(help="Alias of the version, for example champion.")]
Stage = Annotated[str, typer.Option(help="Stage of the version, for example production.")]


def connected(url: str | None, data_dir: Path | None) -> mlmesh.Mesh:
    """Connects as the options say. An address that is given beats a data directory of the environment."""
    return mlmesh.connect(url, data_dir=None if url else data_dir)


def as_dict(message: Message) -> dict[str, Any]:
    """Returns a message as JSON values, with the field names of the contract."""
    return dict(MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))


def when(stamp: Any) -> str:
    """Returns a timestamp for people, in UTC; empty where it is not set."""
    return stamp.ToDatetime().strftime("%Y-%m-%d %H:%M:%S") if stamp.seconds or stamp.nanos else ""
