from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st
from mlops.users.v1 import user_pb2
from mlops.users.v1 import users_service_pb2 as pb

from servers.runtime.errors import InvalidArgument
from servers.users import converters as to
from servers.users.accounts import NewUser, UserUpdate
from servers.users.errors import UnsupportedState
from servers.users.identities import ApiKey, Binding, Role, User, UserKind, UserState
from servers.users.roles import RoleUpdate
from servers.users.store.audit_rows import Entry, Event
from servers.users.token_grants import TokenRequest
from tests.users_under_test import START

names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)
moments = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2999, 1, 1), timezones=st.just(UTC))
labels = st.dictionaries(names, names, max_size=4)
users = st.builds(
    User,
    id=st.uuids().map(str),
    username=names,
    display_name=names,
    email=names,
    kind=st.sampled_from(UserKind),
    is_disabled=st.booleans(),
    labels=labels,
    create_time=moments,
    update_time=moments,
    last_login_time=st.none() | moments,
    lock_expire_time=st.none() | moments,
    revision=st.integers(1, 2**31),
)
events = st.builds(
    Event,
    id=st.uuids().map(str),
    event_time=moments,
    subject=names,
    method=names,
    project=names,
    resource=names,
    status_code=st.integers(0, 16),
    reason=names,
    trace_id=names,
)


@given(users)
def test_what_a_user_message_says_creates_the_same_user(user: User) -> None:
    message = to.user_message(user, START)

    if user.state(START) is UserState.LOCKED:
        with pytest.raises(UnsupportedState):
            to.new_user_of(message)
        return
    assert to.new_user_of(message) == NewUser(
        user.username, user.display_name, user.email, user.kind, user.is_disabled, dict(user.labels), None
    )


@given(users, moments)
def test_a_user_message_has_the_state_of_its_moment_and_its_times(user: User, now: datetime) -> None:
    message = to.user_message(user, now)

    assert user_pb2.UserState.Name(message.state) == f"USER_STATE_{user.state(now).value}"
    assert message.HasField("lock_expire_time") == (user.state(now) is UserState.LOCKED)
    assert message.create_time.ToDatetime(tzinfo=UTC) == user.create_time
    assert message.HasField("last_login_time") == (user.last_login_time is not None)
    assert not message.HasField("password")


@given(users)
def test_a_user_that_is_sent_back_as_read_changes_nothing_but_the_revision(user: User) -> None:
    request = pb.UpdateUserRequest(user=to.user_message(user, START), update_mask=FieldMask(paths=["*"]))

    update = to.user_update_of(request)

    assert update == UserUpdate(user.display_name, user.email, user.state(START), dict(user.labels))


@given(st.sets(st.sampled_from(["display_name", "email", "labels"]), min_size=1))
def test_an_update_names_what_the_mask_names(paths: set[str]) -> None:
    request = pb.UpdateUserRequest(user=user_pb2.User(display_name="x"), update_mask=FieldMask(paths=sorted(paths)))

    update = to.user_update_of(request)

    assert {name for name in ("display_name", "email", "labels", "state") if getattr(update, name) is not None} == paths


@given(events, st.integers(1, 2**62))
def test_an_audit_event_survives_the_way_there_and_back(event: Event, sequence: int) -> None:
    message = to.audit_event_message(Entry(sequence, event, "ab" * 32))

    assert to.event_of(message) == event
    assert (message.sequence, message.hash) == (sequence, "ab" * 32)


def test_an_event_loses_what_no_database_keeps() -> None:
    message = user_pb2.AuditEvent(id="00000000-0000-0000-0000-00000000000A", resource="a\0b")
    message.event_time.seconds, message.event_time.nanos = 1, 123_456_789

    event = to.event_of(message)

    assert (event.id[-1], event.resource) == ("a", "a\ufffdb")
    assert event.event_time == datetime(1970, 1, 1, 0, 0, 1, 123456, tzinfo=UTC)


@given(names, names, st.lists(names, max_size=3), moments)
def test_roles_bindings_and_keys_keep_their_fields(name: str, text: str, permissions: list[str], moment: datetime) -> None:
    role = to.role_message(Role(name, text, tuple(permissions), is_built_in=True, create_time=moment, update_time=moment))
    assert (role.name, role.display_name, list(role.permissions), role.built_in) == (name, text, permissions, True)
    binding = to.binding_message(Binding("b", "u", name, text, moment))
    assert (binding.id, binding.user_id, binding.role, binding.project) == ("b", "u", name, text)
    key = ApiKey("k", "u", text, tuple(permissions), moment, None, moment, None, "group")
    message = to.api_key_message(key)
    assert (message.id, message.user_id, message.display_name, list(message.scopes)) == ("k", "u", text, permissions)
    assert [message.HasField(field) for field in ("expire_time", "last_use_time", "revoke_time")] == [False, True, False]
    assert "token_group" not in message.DESCRIPTOR.fields_by_name


def test_an_expiry_that_is_not_set_is_none() -> None:
    message = user_pb2.ApiKey()
    assert to.expire_time_of(message) is None
    message.expire_time.FromDatetime(START + timedelta(days=1))
    assert to.expire_time_of(message) == START + timedelta(days=1)


def test_a_role_cannot_be_emptied() -> None:
    request = pb.UpdateRoleRequest(role=user_pb2.Role(name="reader"), update_mask=FieldMask(paths=["permissions"]))

    with pytest.raises(InvalidArgument, match="at least one permission"):
        to.role_update_of(request)
    request.role.display_name = "Reader"
    request.update_mask.Clear()
    assert to.role_update_of(request) == RoleUpdate("Reader", None)


def test_scopes_are_separated_by_any_space() -> None:
    request = pb.ExchangeTokenRequest(grant_type="password", username="a", password="b", scope="  x.y\tz.* ")

    assert to.token_request_of(request) == TokenRequest("password", "a", "b", scopes=("x.y", "z.*"))


def test_a_negative_page_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        to.listing_of(pb.ListUsersRequest(page_size=-1))
    assert to.listing_of(pb.ListUsersRequest(page_size=5000)).page_size == 1000
