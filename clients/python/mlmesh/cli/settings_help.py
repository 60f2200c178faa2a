"""`mlmesh up --help`: the options, and every setting of every server."""

from __future__ import annotations

import json
import subprocess
from itertools import groupby
from typing import Any

from rich.markup import escape
from rich.padding import Padding
from typer.core import TyperCommand

from mlmesh import platform_code
from mlmesh.cli.output import console

_TIMEOUT_S = 30.0


class UpCommand(TyperCommand):
    """The command `up`, whose help goes on with the settings."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help of the command and then the settings."""
        super().format_help(ctx, formatter)
        print_settings()


def print_settings() -> None:
    """Prints every setting with its default and what it does, as the settings classes say it."""
    answer = subprocess.run(
        platform_code.command("servers", "settings"),
        env=platform_code.environment(),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=True,
    )
    out = console()
    out.print("[bold]Settings[/], from the environment. A setting of every server can differ for one of them:")
    out.print("MLMESH_REGISTRY_LOG_LEVEL beats MLMESH_LOG_LEVEL.\n")
    for scope, settings in groupby(json.loads(answer.stdout), key=lambda setting: str(setting["scope"])):
        out.print(f"[bold underline]{scope}[/]")
        for setting in settings:
            default = f" = {setting['default']}" if setting["default"] else ""
            out.print(f"  [cyan]{setting['variable']}[/] [dim]{escape(setting['kind'] + default)}[/]", soft_wrap=True)
            out.print(Padding(escape(setting["description"]), (0, 0, 0, 6)))
        out.print()
