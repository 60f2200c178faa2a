"""The command line: `mlmesh`."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Runs the command line and exits."""
    from mlmesh.cli.app import run

    run()
