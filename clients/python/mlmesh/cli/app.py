"""The commands, and what all of them do with an error."""

from __future__ import annotations

import os
import sys

import typer

from mlmesh import platform_code
from mlmesh.cli import data, datasets, features, local, models, people, pipelines, prediction, processing, session
from mlmesh.cli.output import print_error
from mlmesh.errors import MeshError

app = typer.Typer(
    name="mlmesh",
    help="MLOps platform as a service mesh: start it, put models into it, and call them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
local.add_commands(app)
session.add_commands(app)
prediction.add_commands(app)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(datasets.app, name="datasets")
app.add_typer(processing.app, name="processing")
app.add_typer(pipelines.app, name="pipelines")
app.add_typer(features.app, name="features")
app.add_typer(people.users, name="users")
app.add_typer(people.keys, name="keys")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def demo(context: typer.Context) -> None:
    """Train, register and serve a model of real flights, call it over REST and gRPC, and leave nothing running."""
    command = platform_code.command("demo.flights", *context.args)
    os.execve(command[0], command, platform_code.environment())  # noqa: S606 (no shell is the point)


def run() -> None:
    """Runs the command that the arguments name; exits with 1 on an error, which it prints with what to do about it."""
    try:
        app()
    except platform_code.PlatformMissing as error:
        print_error(str(error))
    except MeshError as error:
        wrong = "".join(f"\n  {one.field}: {one.description}" for one in error.field_violations if one.description not in error.message)
        print_error(error.message + wrong, error.hint)
    else:
        return
    sys.exit(1)
