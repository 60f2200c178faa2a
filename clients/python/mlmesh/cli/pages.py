"""HTML pages that commands write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlmesh.cli.output import console, print_error

HTML_HELP = "Write an HTML page with plots to this file; it needs nothing else."
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help=HTML_HELP, dir_okay=False)]


def write_page(path: Path, page: str) -> None:
    """Writes a page, and says where. Exits with 1 where that cannot be done."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        print_error(f"{path} cannot be written: {error.strerror}", "choose another file")
        raise typer.Exit(1) from None
    console().print(f"wrote {path}", markup=False, soft_wrap=True)
