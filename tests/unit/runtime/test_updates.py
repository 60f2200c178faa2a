from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st
from mlops.users.v1.user_pb2 import User

from servers.runtime.errors import Aborted, InvalidArgument
from servers.runtime.etags import check_etag, etag_of
from servers.runtime.field_masks import apply_update, updated_fields
from servers.runtime.paging import page_size

IMMUTABLE, IDENTITY = ("username", "create_time"), ("id", "etag")


def update(sent: User, current: User, *paths: str) -> User:
    target = User()
    target.CopyFrom(current)
    fields = updated_fields(FieldMask(paths=paths), sent, immutable=IMMUTABLE, identity=IDENTITY)
    apply_update(fields, sent, target)
    return target


def current() -> User:
    user = User(id="u1", username="ada", display_name="Ada", email="ada@example.org", labels={"team": "a"})
    user.create_time.FromSeconds(1)
    return user


def test_an_empty_mask_changes_what_is_populated() -> None:
    changed = update(User(id="u1", display_name="Countess"), current())

    assert (changed.display_name, changed.email, dict(changed.labels)) == ("Countess", "ada@example.org", {"team": "a"})


def test_an_empty_mask_skips_what_the_server_owns_so_that_a_read_can_be_sent_back() -> None:
    sent = current()
    sent.display_name = "Countess"
    sent.create_time.FromSeconds(99)

    changed = update(sent, current())

    assert (changed.display_name, changed.create_time.seconds) == ("Countess", 1)


def test_a_star_clears_what_is_not_sent() -> None:
    changed = update(User(id="u1", display_name="Countess"), current(), "*")

    assert (changed.username, changed.display_name, changed.email, dict(changed.labels)) == ("ada", "Countess", "", {})
    assert changed.create_time.seconds == 1


def test_a_named_field_is_changed_also_to_nothing() -> None:
    changed = update(User(display_name="ignored"), current(), "email", "labels")

    assert (changed.display_name, changed.email, dict(changed.labels)) == ("Ada", "", {})


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["nothing"], "User has no field 'nothing'"),
        (["email.host"], "User has no field 'email.host'"),
        (["labels.team"], "User has no field 'labels.team'"),
        (["username"], "'username' cannot be changed"),
        (["*", "email"], "stands alone"),
        ([""], "User has no field ''"),
    ],
)
def test_a_mask_that_names_what_cannot_be_changed_is_refused_with_what_can(paths: list[str], why: str) -> None:
    with pytest.raises(InvalidArgument, match=r"fields that can be changed: .*display_name") as caught:
        updated_fields(FieldMask(paths=paths), User(), immutable=IMMUTABLE, identity=IDENTITY)

    assert why in caught.value.message
    assert caught.value.field_violations[0][0] == "update_mask"


def test_naming_the_identity_is_no_error_and_changes_nothing() -> None:
    assert update(User(id="other", email="new@example.org"), current(), "id", "email").id == "u1"


names = st.sampled_from(["display_name", "email", "labels"])
users = st.builds(
    User, display_name=st.text(max_size=5), email=st.text(max_size=5), labels=st.dictionaries(st.text(max_size=3), st.text(max_size=3))
)


@given(users, users, st.sets(names, min_size=1))
def test_exactly_the_named_fields_are_those_of_the_request(sent: User, before: User, paths: set[str]) -> None:
    after = update(sent, before, *paths)

    for name in ("display_name", "email", "labels"):
        assert getattr(after, name) == getattr(sent if name in paths else before, name)


def test_an_etag_changes_with_every_part() -> None:
    tags = {etag_of("a", 1), etag_of("a", 2), etag_of("b", 1), etag_of("a1"), etag_of(("a", 1))}

    assert len(tags) == 5
    assert etag_of("a", 1) == etag_of("a", 1)


def test_a_change_based_on_another_state_is_aborted() -> None:
    check_etag("", "current")
    check_etag("current", "current")
    with pytest.raises(Aborted) as caught:
        check_etag("old", "current")
    assert caught.value.reason == "ETAG_MISMATCH"


@pytest.mark.parametrize(("requested", "given_size"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_a_page_has_between_1_and_1000_items(requested: int, given_size: int) -> None:
    assert page_size(requested) == given_size


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="page_size is -1") as caught:
        page_size(-1)
    assert caught.value.field_violations[0][0] == "page_size"
