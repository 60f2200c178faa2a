from __future__ import annotations

import dataclasses
import uuid
from datetime import timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.users.audit_checkpoints import CheckpointFile
from servers.users.audit_log import GENESIS, Checkpoint, chained, event_hash
from servers.users.store.audit_rows import Entry, Event
from tests.users_under_test import START, FakeClock

text = st.text(max_size=20)
events = st.builds(
    Event,
    id=st.uuids().map(str),
    event_time=st.datetimes(timezones=st.just(START.tzinfo)),
    subject=text,
    method=text,
    project=text,
    resource=text,
    status_code=st.integers(0, 16),
    reason=text,
    trace_id=text,
)


def event(**changes: object) -> Event:
    made = Event(str(uuid.UUID(int=1)), START, "ada", "/m", "default", "model", 0, "", "")
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def chain(items: list[Event]) -> list[Entry]:
    entries: list[Entry] = []
    for sequence, item in enumerate(items, start=1):
        entries.append(Entry(sequence, item, event_hash(entries[-1].hash if entries else GENESIS, sequence, item)))
    return entries


def is_whole(entries: list[Entry]) -> bool:
    return all(follows for _, follows in chained(entries))


@given(st.lists(events, max_size=8))
def test_an_untouched_chain_is_whole(items: list[Event]) -> None:
    assert is_whole(chain(items))


@given(events, events)
def test_two_events_share_a_hash_only_where_they_are_the_same(one: Event, other: Event) -> None:
    assert (event_hash(GENESIS, 1, one) == event_hash(GENESIS, 1, other)) == (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"id": str(uuid.UUID(int=2))},
        {"event_time": START + timedelta(microseconds=1)},
        {"subject": "eve"},
        {"method": "/other"},
        {"project": "team"},
        {"resource": "another"},
        {"status_code": 7},
        {"reason": "DENIED"},
        {"trace_id": "ab"},
    ],
)
def test_a_change_of_any_field_breaks_the_chain(change: dict[str, object]) -> None:
    entries = chain([event(), event(), event()])
    entries[1] = dataclasses.replace(entries[1], event=event(**change))

    assert [follows for _, follows in chained(entries)] == [True, False, True]


def test_text_cannot_move_from_one_field_to_the_next() -> None:
    assert event_hash(GENESIS, 1, event(subject="a", method="bc")) != event_hash(GENESIS, 1, event(subject="ab", method="c"))
    assert event_hash(GENESIS, 1, event(subject='","')) != event_hash(GENESIS, 1, event(subject='"', method=","))


def test_the_same_moment_in_another_zone_is_the_same_event() -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=9)))

    assert event_hash(GENESIS, 1, event(event_time=elsewhere)) == event_hash(GENESIS, 1, event())


@given(st.integers(0, 4))
def test_leaving_out_an_event_breaks_the_chain_unless_it_is_the_last(index: int) -> None:
    entries = chain([event(subject=str(number)) for number in range(5)])
    del entries[index]

    assert is_whole(entries) == (index == 4)


def test_swapped_events_break_the_chain() -> None:
    entries = chain([event(subject=str(number)) for number in range(4)])
    entries[1], entries[2] = entries[2], entries[1]

    assert not is_whole(entries)


class TestCheckpointFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> CheckpointFile:
        return CheckpointFile(tmp_path / "checkpoints", b"s" * 32, FakeClock())

    def test_checkpoints_can_be_read_back(self, file: CheckpointFile, tmp_path: Path) -> None:
        kept = [Checkpoint(3, "a" * 64), Checkpoint(9, "b" * 64)]
        for checkpoint in kept:
            file.add(checkpoint)

        assert list(file.read()) == kept
        assert (tmp_path / "checkpoints").stat().st_mode & 0o777 == 0o600

    def test_an_empty_log_and_an_unchanged_one_add_nothing(self, file: CheckpointFile) -> None:
        file.add(Checkpoint(0, ""))
        file.add(Checkpoint(1, "a" * 64))
        file.add(Checkpoint(1, "a" * 64))

        assert list(file.read()) == [Checkpoint(1, "a" * 64)]

    @pytest.mark.parametrize("damage", [(b"a" * 64, b"c" * 64), (b'"sequence":3', b'"sequence":2'), (b"{", b"["), (b'"signature"', b'"s"')])
    def test_a_changed_line_is_never_taken_for_a_checkpoint(
        self, file: CheckpointFile, tmp_path: Path, damage: tuple[bytes, bytes]
    ) -> None:
        file.add(Checkpoint(3, "a" * 64))
        path = tmp_path / "checkpoints"
        path.write_bytes(path.read_bytes().replace(*damage))

        (read,) = file.read()

        assert read.hash == "broken"
        assert read.sequence > 0

    def test_a_line_signed_by_another_key_is_not_ours(self, file: CheckpointFile, tmp_path: Path) -> None:
        CheckpointFile(tmp_path / "checkpoints", b"t" * 32, FakeClock()).add(Checkpoint(3, "a" * 64))

        assert [checkpoint.hash for checkpoint in file.read()] == ["broken"]

    def test_the_file_does_not_grow_for_ever(self, file: CheckpointFile, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("servers.users.audit_checkpoints._LINES_KEPT", 5)
        for sequence in range(1, 21):
            file.add(Checkpoint(sequence, f"{sequence:064x}"))

        assert [checkpoint.sequence for checkpoint in file.read()] == [16, 17, 18, 19, 20]
