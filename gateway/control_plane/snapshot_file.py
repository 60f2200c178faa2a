"""The last configuration that Envoy acknowledged, on disk: with it a mesh starts while its users server is away."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from gateway.control_plane.snapshot import Snapshot, SnapshotError, from_bytes, to_bytes

_LOGGER = logging.getLogger(__name__)


def read_snapshot(path: Path) -> Snapshot | None:
    """Reads a snapshot.

    Args:
        path: File that `write_snapshot` wrote.

    Returns:
        The snapshot; None where there is no file, or one that cannot be read, which is logged: it is a convenience, never a need.
    """
    try:
        return from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, SnapshotError) as error:
        _LOGGER.warning("the last configuration in %s is not used: %s", path, error)
        return None


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Writes a snapshot so that the file is either the old one or the new one, whole."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(to_bytes(snapshot))
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
