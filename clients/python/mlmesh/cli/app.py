"""The commands, and what all of them do with an error."""

from __future__ import annotations

import sys

import typer

from mlmesh.cli import local
from mlmesh.cli.output import print_error
from mlmesh.platform_code import PlatformMissing

app = typer.Typer(
    name="mlmesh",
    help="MLOps platform as a service mesh: start it, put models into it, and call them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
local.add_commands(app)


def run() -> None:
    """Runs the command that the arguments name; exits with 1 on an error, which it prints with what to do about it."""
    try:
        app()
    except PlatformMissing as error:
        print_error(str(error))
        sys.exit(1)
