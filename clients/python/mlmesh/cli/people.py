"""Commands about users and API keys: `mlmesh users …` and `mlmesh keys …`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from mlops.users.v1 import user_pb2
from rich.text import Text

from mlmesh.cli.connection import AsJson, DataDir, Project, Url, as_dict, connected, when
from mlmesh.cli.output import coloured, console, print_json, print_table
from mlmesh.fields import enum_name

users = typer.Typer(help="Users and what they may do.", no_args_is_help=True)
keys = typer.Typer(help="API keys, for programs.", no_args_is_help=True)


@users.command("list")
def list_users(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List users."""
    with connected(url, data_dir) as mesh:
        found = mesh.users.list_users().to_list()
    if as_json:
        print_json([as_dict(user) for user in found])
        return
    rows = (
        (one.username, one.display_name, enum_name(user_pb2.UserKind, one.kind), _state(one), when(one.last_login_time), one.id)
        for one in found
    )
    print_table(("USER", "NAME", "KIND", "STATE", "LAST LOG-IN", "ID"), rows)


@users.command()
def create(
    username: Annotated[str, typer.Argument(help="Login name.")],
    role: Annotated[list[str] | None, typer.Option(help="Role to give; may be repeated.")] = None,
    password: Annotated[
        str,
        typer.Option(
            prompt=True, confirmation_prompt=True, hide_input=True, prompt_required=False, help="Password, 12 characters or more."
        ),
    ] = "",
    service: Annotated[bool, typer.Option("--service", help="A program: it logs in by API key.")] = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Create a user and give it roles in a project."""
    with connected(url, data_dir) as mesh:
        user = mesh.users.create_user(username, password=password, kind="service" if service else "human")
        for name in role or ():
            mesh.users.create_role_binding(user.id, name, project=project)
    console().print(f"created {username} ({user.id})")


@users.command("set-password")
def set_password(
    username: Annotated[str, typer.Argument(help="Login name.")],
    password: Annotated[str, typer.Option(prompt=True, confirmation_prompt=True, hide_input=True, help="Password, 12 characters or more.")],
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Set the password of a user."""
    with connected(url, data_dir) as mesh:
        mesh.users.set_password(mesh.users.get_user(username).id, password)
    console().print(f"the password of {username} is set")


@users.command()
def roles(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List roles and their permissions."""
    with connected(url, data_dir) as mesh:
        found = mesh.users.list_roles().to_list()
    if as_json:
        print_json([as_dict(role) for role in found])
        return
    print_table(("ROLE", "PERMISSIONS"), ((one.name, ", ".join(one.permissions)) for one in found))


@keys.command("list")
def list_keys(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List your API keys."""
    with connected(url, data_dir) as mesh:
        found = mesh.users.list_api_keys().to_list()
    if as_json:
        print_json([as_dict(key) for key in found])
        return
    rows = (
        (one.id, one.display_name, ", ".join(one.scopes), when(one.expire_time), when(one.last_use_time), when(one.revoke_time))
        for one in found
    )
    print_table(("ID", "FOR", "SCOPES", "EXPIRES", "LAST USED", "REVOKED"), rows, empty="no keys")


@keys.command("create")
def create_key(
    display_name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for, for example 'nightly training'.")],
    scope: Annotated[list[str] | None, typer.Option(help="Permission it is limited to; may be repeated; default: all of yours.")] = None,
    days: Annotated[int, typer.Option(help="Days until it stops working; 0 = never.", min=0)] = 0,
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Create an API key and print it. It cannot be shown again."""
    expire_time = datetime.now(UTC) + timedelta(days=days) if days else None
    with connected(url, data_dir) as mesh:
        created = mesh.users.create_api_key(display_name, scopes=scope or (), expire_time=expire_time)
    typer.echo(created.secret)


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(metavar="ID", help="Its id.")], url: Url = None, data_dir: DataDir = None) -> None:
    """Revoke an API key. It stops working within 5 seconds."""
    with connected(url, data_dir) as mesh:
        mesh.users.revoke_api_key(key_id)
    console().print("revoked")


def _state(user: user_pb2.User) -> Text:
    return Text.from_markup(coloured(enum_name(user_pb2.UserState, user.state)))
