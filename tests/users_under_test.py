"""The users server as its tests want it: a clock that stands still, cheap password hashes, and callers of every kind."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from servers.runtime.auth import Principal
from servers.users.composition import Domain, open_domain, places_of
from servers.users.settings import UsersSettings

PASSWORD = "correct horse battery staple"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ROOT = Principal(subject="root", display_name="root", kind="user", grants={"*": frozenset({"*"})}, session_id="root-session")


class FakeClock:
    """Shows what it was set to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return (self.now - START).total_seconds()

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def cheap_settings(folder: Path, **changes: Any) -> UsersSettings:
    """Settings that hash passwords in a millisecond and stop at once."""
    defaults: dict[str, Any] = {
        "data_dir": folder,
        "listen": "127.0.0.1:0",
        "drain_s": 0,
        "grace_s": 2,
        "password_memory_kib": 64,
        "password_iterations": 1,
        "password_lanes": 1,
    }
    return UsersSettings(**(defaults | changes))


def prepared_domain(settings: UsersSettings, clock: FakeClock) -> Domain:
    """A domain whose first administrator, `admin`, has the password `PASSWORD`."""
    domain = open_domain(settings, clock)
    domain.first_start.prepare(settings.admin_username, places_of(settings))
    domain.accounts.set_password(ROOT, settings.admin_username, PASSWORD)
    return domain


def caller_with(*permissions: str, project: str = "*", subject: str = "somebody") -> Principal:
    """A caller with some permissions."""
    return dataclasses.replace(ROOT, subject=subject, display_name=subject, grants={project: frozenset(permissions)})
