from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_management.errors import MetadataUnavailable
from model_management.metadata.journal import Journal

VALUES = st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20)
CHANGES = st.lists(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=2), min_size=1, max_size=3), max_size=6)


def read_all(folder: Path) -> list:
    journal = Journal(folder)
    with journal.locked(exclusive=False):
        return journal.news()[1]


def log_of(folder: Path) -> Path:
    (log,) = folder.glob("log-*.jsonl")
    return log


def write(journal: Journal, changes: list) -> bool:
    with journal.locked(exclusive=True):
        journal.news()
        return journal.append(changes)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "journal"


@settings(deadline=None, max_examples=40)
@given(batches=CHANGES, compact_after=st.integers(0, 6))
def test_what_was_written_is_read_by_others_in_order_with_or_without_a_snapshot(tmp_path_factory, batches, compact_after):
    folder = tmp_path_factory.mktemp("j")
    writer, reader = Journal(folder), Journal(folder)
    seen: list = []
    for number, batch in enumerate(batches):
        write(writer, batch)
        if number == compact_after:
            with writer.locked(exclusive=True):
                writer.compact([change for written in batches[: number + 1] for change in written])
        with reader.locked(exclusive=False):
            is_new, changes = reader.news()
        seen = changes if is_new else seen + changes
    expected = [change for batch in batches for change in batch]
    assert seen == expected
    assert read_all(folder) == expected


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_crash_in_the_middle_of_a_line_loses_that_line_alone(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("j")
    journal = Journal(folder)
    write(journal, [{"n": 1}])
    whole = log_of(folder).stat().st_size
    write(journal, [{"n": 2, "text": "x" * 50}])
    os.truncate(log_of(folder), data.draw(st.integers(whole, log_of(folder).stat().st_size - 1)))
    assert read_all(folder) == [{"n": 1}]
    write(Journal(folder), [{"n": 3}])
    assert read_all(folder) == [{"n": 1}, {"n": 3}]


def test_a_line_whose_pages_arrived_in_part_is_taken_for_torn(folder):
    write(Journal(folder), [{"n": 1}])
    with log_of(folder).open("ab") as file:
        file.write(b"\x00" * 40 + b"\n")
    assert read_all(folder) == [{"n": 1}]


def test_damage_before_the_end_is_said_and_not_skipped(folder):
    journal = Journal(folder)
    for number in range(3):
        write(journal, [{"n": number}])
    content = bytearray(log_of(folder).read_bytes())
    content[12] ^= 1
    log_of(folder).write_bytes(content)
    with pytest.raises(MetadataUnavailable, match="damaged at byte 0"):
        read_all(folder)


def test_a_snapshot_that_is_cut_short_is_said(folder):
    journal = Journal(folder)
    with journal.locked(exclusive=True):
        journal.compact([{"n": number} for number in range(9)])
    snapshot = folder / "snapshot.jsonl"
    os.truncate(snapshot, snapshot.stat().st_size // 2)
    with pytest.raises(MetadataUnavailable, match="restore it from a backup"):
        read_all(folder)


def test_a_log_that_outgrows_the_snapshot_asks_to_be_compacted(folder):
    journal = Journal(folder, compact_from_bytes=100)
    assert not write(journal, [{"n": 1}])
    assert write(journal, [{"n": "x" * 100}])
    with journal.locked(exclusive=True):
        journal.compact([{"n": 1}])
    assert len(list(folder.glob("log-*.jsonl"))) == 1
    assert not write(journal, [{"n": 2}])
    assert read_all(folder) == [{"n": 1}, {"n": 2}]
