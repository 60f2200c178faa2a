from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sqlalchemy import func, select

from servers.users.audit_sink import LocalAuditSink
from servers.users.composition import Domain, build
from servers.users.errors import InvalidCredentials
from servers.users.housekeeping import Housekeeping
from servers.users.store import tables
from tests.users_under_test import PASSWORD, ROOT, FakeClock, cheap_settings


@pytest.fixture
def housekeeping(domain: Domain, clock: FakeClock) -> Housekeeping:
    sink = LocalAuditSink(domain.engine, domain.audit_log)
    return Housekeeping(domain.engine, domain.signing_keys, sink, domain.lockout, clock)


def rows(domain: Domain) -> dict[str, int]:
    kept = (tables.sessions, tables.refresh_tokens, tables.revocations, tables.login_attempts)
    with domain.engine.connect() as connection:
        return {table.name: connection.execute(select(func.count()).select_from(table)).scalar_one() for table in kept}


def test_what_has_expired_is_deleted_and_nothing_before(domain: Domain, housekeeping: Housekeeping, clock: FakeClock) -> None:
    first = domain.logins.with_password("admin", PASSWORD)
    domain.logins.with_refresh_token(first.refresh)
    with pytest.raises(InvalidCredentials):
        domain.logins.with_password("nobody", "wrong")
    domain.accounts.set_password(ROOT, "admin", PASSWORD)

    housekeeping.run()
    assert rows(domain) == {"sessions": 1, "refresh_tokens": 2, "revocations": 1, "login_attempts": 1}
    clock.advance(1000)
    housekeeping.run()
    assert rows(domain) == {"sessions": 1, "refresh_tokens": 2, "revocations": 0, "login_attempts": 1}
    clock.advance(2601)
    housekeeping.run()
    assert rows(domain) == {"sessions": 1, "refresh_tokens": 2, "revocations": 0, "login_attempts": 0}
    clock.advance(7 * 86400)
    housekeeping.run()
    assert rows(domain) == {"sessions": 1, "refresh_tokens": 0, "revocations": 0, "login_attempts": 0}
    clock.advance(30 * 86400)
    housekeeping.run()
    assert rows(domain) == {"sessions": 0, "refresh_tokens": 0, "revocations": 0, "login_attempts": 0}


def test_a_month_of_housekeeping_changes_the_key_and_fails_no_login(domain: Domain, housekeeping: Housekeeping, clock: FakeClock) -> None:
    first = domain.signing_keys.signer().key_id
    for _ in range(31 * 4):
        clock.advance(6 * 3600)
        housekeeping.run()

    assert domain.logins.with_password("admin", PASSWORD).access.text
    assert domain.signing_keys.signer().key_id != first


def test_without_anyone_to_show_it_the_first_password_waits_in_a_file(tmp_path: Path) -> None:
    server = build(cheap_settings(tmp_path))
    server.start()
    server.stop()

    file = tmp_path / "secrets" / "initial-admin-password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().strip()) == 24
