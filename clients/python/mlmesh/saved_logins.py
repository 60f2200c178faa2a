"""Logins that `mlmesh login` keeps, one a mesh, in a file that only its owner can read.

A login is an API key; or, for those who may not make keys, the refresh token of a session, which is another one after each use.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def logins_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns `$XDG_CONFIG_HOME/mlmesh/logins.json`, by default below `~/.config`."""
    return Path(environment.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "mlmesh" / "logins.json"


def saved_login(url: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns the login saved for a mesh; empty where there is none."""
    return _read(logins_file(environment)).get(url, "")


def save_login(url: str, login: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Saves a login for a mesh.

    Returns:
        The file that has it.
    """
    path = logins_file(environment)
    _write(path, {**_read(path), url: login})
    return path


def forget_login(url: str, environment: Mapping[str, str] = os.environ) -> str:
    """Removes the login saved for a mesh, and returns it; empty where there was none."""
    path = logins_file(environment)
    logins = _read(path)
    key = logins.pop(url, "")
    if key:
        _write(path, logins)
    return key


@contextlib.contextmanager
def exclusive_use(environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Keeps other programs from using a refresh token that this one is about to use up."""
    path = logins_file(environment).with_suffix(".lock")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(path: Path) -> dict[str, str]:
    try:
        logins = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return {str(url): str(key) for url, key in logins.items()} if isinstance(logins, dict) else {}


def _write(path: Path, logins: Mapping[str, str]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(logins, file, indent=1)
    fresh.replace(path)
