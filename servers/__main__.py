"""Entry of the platform for the command line: `python -m servers up …` runs the mesh, `python -m servers settings` lists its settings."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from servers.mesh import CannotStart, run_mesh


def main(arguments: list[str] | None = None) -> int:
    """Does what the arguments say.

    Returns:
        Exit code: 0 after a mesh that was told to stop, 1 where it could not start.
    """
    parser = argparse.ArgumentParser(prog="python -m servers")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the mesh until SIGTERM or SIGINT")
    up.add_argument("--data-dir", type=Path, required=True)
    up.add_argument("--host", default="127.0.0.1")
    up.add_argument("--port", type=int, default=8080)
    up.add_argument("--report-fd", type=int, help="file descriptor that takes one line of JSON; default: text on the terminal")
    commands.add_parser("settings", help="print every setting as JSON")
    parsed = parser.parse_args(arguments)
    if parsed.command == "settings":
        return _print_settings()
    report = _report_to_terminal if parsed.report_fd is None else _report_to(parsed.report_fd)
    try:
        run_mesh(parsed.data_dir, parsed.host, parsed.port, on_started=lambda started: report({"started": asdict(started)}))
    except CannotStart as error:
        report({"error": str(error)})
        return 1
    return 0


def _report_to(descriptor: int) -> Callable[[dict[str, Any]], None]:
    """Reports to whoever started the mesh in the background, and waits for the line."""
    # The servers must not inherit it: whoever waits for its end would wait for theirs.
    os.set_inheritable(descriptor, False)

    def report(said: dict[str, Any]) -> None:
        # Whoever waited may be gone by now; the mesh runs on.
        with contextlib.suppress(OSError), os.fdopen(descriptor, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(said) + "\n")

    return report


def _report_to_terminal(said: dict[str, Any]) -> None:
    if "error" in said:
        print(said["error"], file=sys.stderr)
        return
    print(said["started"]["announcement"], flush=True)
    # Shown now, and so gone.
    Path(said["started"]["first_password_file"]).unlink(missing_ok=True)


def _print_settings() -> int:
    from servers.settings_reference import all_settings

    json.dump([asdict(setting) for setting in all_settings()], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
