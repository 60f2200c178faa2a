"""Commands for the mesh on this machine: up, down, status, logs, serve."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer

from mlmesh import local_mesh, platform_code
from mlmesh.cli import follow, health_view
from mlmesh.cli.output import console, print_error, print_json
from mlmesh.cli.settings_help import UpCommand

DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder in which the mesh keeps everything.", envvar="MLMESH_DATA_DIR", show_default="~/.mlmesh", file_okay=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add_commands(app: typer.Typer) -> None:
    """Adds the commands to an application."""
    app.command(cls=UpCommand)(up)
    app.command()(down)
    app.command()(status)
    app.command()(logs)
    app.command()(serve)


def up(
    data_dir: DataDir = None,
    host: Annotated[str, typer.Option(help="IP address to serve on; 0.0.0.0 = every one.", envvar="MLMESH_HOST")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to serve on; 0 = any free one.", envvar="MLMESH_PORT", min=0, max=65535)] = 8080,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once the mesh is healthy, and leave it running.")] = False,
) -> None:
    """Start the whole mesh: servers, gateway and Envoy, restarted when they die.

    On the first start it makes an administrator and prints the password, once.
    """
    folder = (data_dir or local_mesh.default_data_dir()).expanduser().absolute()
    arguments = ["up", "--data-dir", str(folder), "--host", host, "--port", str(port)]
    if detach:
        _start_detached(folder, arguments)
        return
    command = platform_code.command("servers", *arguments)
    # The supervisor takes this process's place: one process fewer to wait, to kill, and to keep in memory.
    os.execve(command[0], command, platform_code.environment())  # noqa: S606 (no shell is the point)


def down(
    data_dir: DataDir = None,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Longest wait for a graceful stop, in seconds.", min=0)] = 60.0,
) -> None:
    """Stop the mesh: first the traffic, then the servers, without failing what was accepted."""
    folder = data_dir or local_mesh.default_data_dir()
    if not local_mesh.is_running(folder):
        console().print(f"no mesh runs on {folder}", soft_wrap=True)
        return
    if not local_mesh.stop(folder, timeout_s):
        print_error(f"the mesh on {folder} did not stop within {timeout_s:g} s and was killed", f"see {folder / 'logs' / 'supervisor.log'}")
        raise typer.Exit(1)
    console().print("stopped")


def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the processes and components of the mesh. Exits with 1 unless all of it is healthy."""
    folder = data_dir or local_mesh.default_data_dir()
    state = local_mesh.read_state(folder)
    if state is None:
        if as_json:
            print_json({"state": "stopped", "data_dir": str(folder)})
        else:
            print_error(f"no mesh runs on {folder}", "start one with `mlmesh up`")
        raise typer.Exit(1)
    view = health_view.look(state)
    if as_json:
        print_json(view.as_json())
    else:
        health_view.show(view)
    if not view.is_healthy:
        raise typer.Exit(1)


def logs(
    process: Annotated[str, typer.Argument(help="Process to show, as `mlmesh status` names it; default: all.")] = "",
    data_dir: DataDir = None,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="Lines to show of what is there.", min=0)] = 50,
) -> None:
    """Show the logs of the processes."""
    folder = (data_dir or local_mesh.default_data_dir()) / "logs"
    known = sorted(path.stem for path in folder.glob("*.log"))
    if not known or (process and process not in known):
        print_error(f"there is no log of {process or 'a mesh'} in {folder}", f"there are: {', '.join(known)}" if known else "")
        raise typer.Exit(1)
    chosen = [folder / f"{name}.log" for name in ([process] if process else known)]
    for line in follow.lines_of(chosen, lines, on=follow_on):
        typer.echo(line)


def serve(
    component: Annotated[str, typer.Argument(help="Component to serve: users, registry, ingestion, serving, system or gateway.")],
) -> None:
    """Serve one component alone, as in production. Its settings come from the environment; `mlmesh up --help` lists them."""
    known = platform_code.components()
    if component not in known:
        print_error(f"there is no component {component!r}", f"there are: {', '.join(known)}")
        raise typer.Exit(2)
    command = platform_code.command(component if component == "gateway" else f"servers.{component}")
    os.execve(command[0], command, platform_code.environment())  # noqa: S606 (no shell is the point)


def _start_detached(folder: Path, arguments: list[str]) -> None:
    log = folder / "logs" / "supervisor.log"
    try:
        # One by one: folders that mkdir makes on the way get the mode of the umask.
        for made in (folder, log.parent):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        print_error(f"cannot write to {folder}: {error.strerror}", "choose another --data-dir")
        raise typer.Exit(1) from None
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as pipe:
        supervisor = subprocess.Popen(
            platform_code.command("servers", *arguments, "--report-fd", str(writing)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=platform_code.environment(),
            start_new_session=True,
            pass_fds=[writing],
        )
        os.close(output)
        os.close(writing)
        try:
            report = pipe.readline()
        except KeyboardInterrupt:
            supervisor.send_signal(signal.SIGTERM)
            supervisor.wait()
            raise
    _tell(report, log)


def _tell(report: str, log: Path) -> None:
    """Prints what the supervisor reported; exits with 1 where the mesh did not start."""
    said: dict[str, Any] = json.loads(report) if report else {"error": f"the supervisor ended without a word; see {log}"}
    if "error" in said:
        print_error(said["error"])
        raise typer.Exit(1)
    typer.echo(said["started"]["announcement"])
    # Shown now, and so gone.
    Path(said["started"]["first_password_file"]).unlink(missing_ok=True)
