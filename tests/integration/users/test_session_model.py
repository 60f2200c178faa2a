"""Sessions against a model: whatever order logins, refreshes, thefts, logouts and the passing of time come in."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from servers.users.accounts import NewUser, UserUpdate
from servers.users.composition import Domain, open_domain
from servers.users.errors import InvalidCredentials, RefreshTokenInvalid, RefreshTokenReused
from servers.users.identities import UserState
from tests.integration.users.conftest import Template
from tests.users_under_test import PASSWORD, ROOT, FakeClock, caller_with, cheap_settings

IDLE_S, LIFETIME_S, TOKEN_S = 1000.0, 3000.0, 60


@dataclass
class ModelSession:
    """What a session has to be like."""

    group: str
    ends_at: float
    is_ended: bool = False


@dataclass
class ModelToken:
    """What a refresh token has to be like."""

    text: str
    session: ModelSession
    ends_at: float
    is_used: bool = field(default=False)


class Sessions(RuleBasedStateMachine):
    """Drives one user's sessions."""

    folder: Path
    domain: Domain
    clock: FakeClock
    count = 0

    tokens = Bundle("tokens")

    def __init__(self) -> None:
        super().__init__()
        Sessions.count += 1
        self.name = f"user-{Sessions.count}"
        self.user_id = self.domain.accounts.create(NewUser(self.name, password=PASSWORD)).id
        self.is_disabled = False
        self.sessions: list[ModelSession] = []
        self.ended_groups: dict[str, float] = {}

    def now(self) -> float:
        return self.clock.monotonic()

    def end(self, session: ModelSession) -> None:
        if not session.is_ended:
            session.is_ended = True
            self.ended_groups[session.group] = self.now()

    @rule(target=tokens)
    def log_in(self) -> object:
        if self.is_disabled:
            with pytest.raises(InvalidCredentials):
                self.domain.logins.with_password(self.name, PASSWORD)
            return multiple()
        given = self.domain.logins.with_password(self.name, PASSWORD)
        group = str(jwt.decode(given.access.text, options={"verify_signature": False})["sid"])
        session = ModelSession(group, self.now() + LIFETIME_S)
        self.sessions.append(session)
        return ModelToken(given.refresh, session, self.now() + IDLE_S)

    @rule(target=tokens, token=tokens)
    def refresh(self, token: ModelToken) -> object:
        session = token.session
        is_live = not session.is_ended and self.now() < session.ends_at and self.now() < token.ends_at
        if not is_live or (self.is_disabled and not token.is_used):
            with pytest.raises(RefreshTokenInvalid):
                self.domain.logins.with_refresh_token(token.text)
            return multiple()
        if token.is_used:
            with pytest.raises(RefreshTokenReused):
                self.domain.logins.with_refresh_token(token.text)
            self.end(session)
            return multiple()
        given = self.domain.logins.with_refresh_token(token.text)
        token.is_used = True
        assert jwt.decode(given.access.text, options={"verify_signature": False})["sid"] == session.group
        return ModelToken(given.refresh, session, min(self.now() + IDLE_S, session.ends_at))

    @rule(token=tokens)
    def log_out(self, token: ModelToken) -> None:
        caller = caller_with("*", subject=self.user_id)
        self.domain.logins.logout(type(caller)(caller.subject, "", "user", caller.grants, token.session.group))
        self.end(token.session)

    @rule()
    def set_password(self) -> None:
        self.domain.accounts.set_password(ROOT, self.user_id, PASSWORD)
        for session in self.sessions:
            self.end(session)

    @rule(is_disabled=st.booleans())
    def disable_or_enable(self, is_disabled: bool) -> None:
        state = UserState.DISABLED if is_disabled else UserState.ACTIVE
        self.domain.accounts.update(ROOT, self.user_id, UserUpdate(state=state), "")
        if is_disabled and not self.is_disabled:
            for session in self.sessions:
                self.end(session)
        self.is_disabled = is_disabled

    @rule(seconds=st.sampled_from([1.0, 30.0, 500.0, 999.0, 1001.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def every_ended_session_with_an_unexpired_token_is_on_the_list(self) -> None:
        listed = set(self.domain.revoked())
        for group, ended_at in self.ended_groups.items():
            if self.now() < ended_at + TOKEN_S:
                assert group in listed
        for session in self.sessions:
            assert session.is_ended or session.group not in listed


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_sessions_behave_like_their_model(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    template: Template = request.getfixturevalue(f"{kind}_template")
    shutil.copytree(template.data_dir, tmp_path, dirs_exist_ok=True)
    url = f"sqlite:///{tmp_path}/mesh.db"
    if kind == "postgresql":
        url = request.getfixturevalue("postgresql").new_database(template.database_url)
    clock = FakeClock()
    changes = {"database_url": url, "session_lifetime_s": LIFETIME_S, "refresh_idle_s": IDLE_S, "access_token_lifetime_s": TOKEN_S}
    Sessions.clock, Sessions.domain = clock, open_domain(cheap_settings(tmp_path, **changes), clock)
    try:
        run_state_machine_as_test(
            Sessions,
            settings=settings(
                max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
            ),
        )
    finally:
        Sessions.domain.engine.dispose()
