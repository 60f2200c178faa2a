"""The options of commands about what people define: entities, views, services."""

from __future__ import annotations

from typing import Annotated

import typer

DisplayName = Annotated[str | None, typer.Option(help="Its name, for people.")]
Description = Annotated[str | None, typer.Option(help="What it is for.")]
Label = Annotated[list[str] | None, typer.Option(help="A label; may be repeated.", metavar="KEY=VALUE")]
ValidateOnly = Annotated[bool, typer.Option("--validate-only", help="Check it, and keep nothing.")]
Etag = Annotated[str, typer.Option(help="The etag that was read; where it has changed since, nothing changes.")]
Filter = Annotated[str, typer.Option("--filter", help="AIP-160 filter.")]
Limit = Annotated[int, typer.Option(help="Most to show.", min=1)]
VersionShown = Annotated[int | None, typer.Option("--version", help="Its version; default: the newest.", min=1)]
VersionUsed = Annotated[int, typer.Option("--version", help="Its version; default: the newest.", min=0)]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Whether to wait until it is done.")]
SpecFile = typer.Option("--spec", metavar="FILE", help="JSON or YAML of it, as the contract has its spec.", exists=True, dir_okay=False)


def label_text(labels: dict[str, str]) -> str:
    """Returns labels as people write them."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
