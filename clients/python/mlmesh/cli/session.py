"""Commands about who the caller is: login, logout, whoami, token, health."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

import mlmesh
from mlmesh import saved_logins
from mlmesh.addresses import parse_address
from mlmesh.cli.connection import AsJson, DataDir, Url, as_dict, connected
from mlmesh.cli.health_view import show_components
from mlmesh.cli.output import coloured, console, print_json, print_table
from mlmesh.configuration import API_KEY_PREFIX, ApiKey, Connection, SavedSession
from mlmesh.connecting import Mesh
from mlmesh.errors import MeshError, PermissionDenied


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to an application."""
    app.command()(token)
    app.command()(login)
    app.command()(logout)
    app.command()(whoami)
    app.command()(health)


def token(url: Url = None, data_dir: DataDir = None) -> None:
    """Print a bearer token, for curl and other programs. It is valid for some minutes."""
    with connected(url, data_dir) as mesh:
        typer.echo(mesh.token())


def login(
    url: Annotated[str, typer.Argument(help="Address of the mesh, for example https://mesh.example.org.", envvar="MLMESH_URL")],
    username: Annotated[str, typer.Option("--username", "-u", prompt="User", help="Login name.")],
    password: Annotated[str, typer.Option(prompt="Password", hide_input=True, envvar="MLMESH_PASSWORD", help="Password.")],
    days: Annotated[int, typer.Option(help="Days until the log-in ends.", min=1, max=3650)] = 30,
) -> None:
    """Log in to a mesh. An API key of yours, made for this machine, is kept in a file that only you can read.

    Who may not make keys gets a session instead, which ends when it is not used for a week.
    """
    expires = datetime.now(UTC) + timedelta(days=days)
    with mlmesh.connect(url, username=username, password=password) as mesh:
        try:
            login = mesh.users.create_api_key(f"mlmesh login on {socket.gethostname()}", expire_time=expires).secret
            ends = f"until {expires:%Y-%m-%d}"
        except PermissionDenied:
            login, ends = mesh.users.login(username, password).refresh_token, "for this session"
    file = saved_logins.save_login(mesh.url, login)
    console().print(f"logged in to {mesh.url} as {username} {ends}; kept in {file}", soft_wrap=True)


def logout(
    url: Annotated[str, typer.Argument(help="Address of the mesh.", envvar="MLMESH_URL")],
) -> None:
    """Log out of a mesh: the key or session that `mlmesh login` made is revoked and removed."""
    address = parse_address(url).url
    login = saved_logins.saved_login(address)
    if not login:
        console().print(f"not logged in to {address}")
        return
    is_key = login.startswith(API_KEY_PREFIX)
    try:
        with Mesh(Connection(parse_address(url), ApiKey(login) if is_key else SavedSession(address))) as mesh:
            if is_key:
                mesh.users.revoke_api_key(login.split("_")[1])
            else:
                mesh.users.logout()
    except MeshError as error:
        console().print(f"it could not be revoked ({error.message}); it is removed here", soft_wrap=True)
    saved_logins.forget_login(address)
    console().print(f"logged out of {address}")


def whoami(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show who you are to the mesh and what you may do."""
    with connected(url, data_dir) as mesh:
        me = mesh.users.get_me()
    if as_json:
        print_json(as_dict(me))
        return
    console().print(f"[bold]{me.user.username}[/] {me.user.display_name} at {mesh.url}")
    print_table(("PROJECT", "PERMISSIONS"), ((grant.project, ", ".join(grant.permissions)) for grant in me.grants), empty="no permissions")


def health(url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show how every component of a mesh is. Exits with 1 unless all are healthy."""
    with connected(url, data_dir) as mesh:
        answer: dict[str, Any] = as_dict(mesh.system.get_health())
    is_healthy = answer["state"] == "HEALTH_STATE_HEALTHY"
    if as_json:
        print_json(answer)
    else:
        console().print(f"{coloured(answer['state'].removeprefix('HEALTH_STATE_').lower())} at {mesh.url}, version {answer['version']}\n")
        show_components(answer)
    if not is_healthy:
        raise typer.Exit(1)
