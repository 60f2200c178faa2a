"""What the users server does now and then: deletes what has expired, makes signing keys, completes the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine

from servers.users.audit_sink import LocalAuditSink
from servers.users.lockout import LockoutPolicy
from servers.users.signing_keys import SigningKeys
from servers.users.store.credential_rows import delete_expired
from servers.users.store.user_rows import delete_attempts_before
from sql_engine import begin_write


class Housekeeping:
    """One round of it. Several servers on one database may run it at the same time.

    Args:
        engine: The database.
        signing_keys: Rotates its keys.
        sink: Has events of calls that never ended.
        lockout: Says which wrong passwords no longer count.
        clock: The time now.
    """

    def __init__(
        self, engine: Engine, signing_keys: SigningKeys, sink: LocalAuditSink, lockout: LockoutPolicy, clock: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._signing_keys = signing_keys
        self._sink = sink
        self._lockout = lockout
        self._clock = clock

    def run(self) -> None:
        """Does everything that is due."""
        now = self._clock()
        self._signing_keys.maintain()
        with begin_write(self._engine) as connection:
            delete_expired(connection, now)
            delete_attempts_before(connection, now - timedelta(seconds=self._lockout.forget_after_s))
        self._sink.collect()
