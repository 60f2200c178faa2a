"""What streams of rows leave out is in quarantine with the commit that writes the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from servers.ingestion.data_process.quarantine.folder import QuarantineFolder
from servers.ingestion.data_process.quarantine.staging import Staging
from servers.ingestion.tables import Delivery
from tests.integration.ingestion.quarantine.bench import Bench
from tests.integration.ingestion.streams.opened import ndjson

# With everything that a file name must not confuse.
PRODUCER = "eu.sensor-17:a.0"


def append(bench: Bench, batches: dict[int, bytes]) -> dict[str, Any]:
    return bench.append(batches, producer=PRODUCER)


def ids(bench: Bench) -> list[int]:
    return sorted(bench.dataset_rows()["id"].to_pylist())


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """A dataset with ids 1, 2 and 5, and the rows 3 and 4 of two batches in its quarantine."""
    append(bench, {1: ndjson({"id": 1, "delay": 5}, {"id": 2, "delay": 6})})
    append(bench, {2: ndjson({"id": 3, "delay": "late"}), 3: ndjson({"id": 5, "delay": 7}, {"id": 4, "delay": 1, "extra": "boo"})})
    return bench


def test_rows_say_which_producer_and_batch_they_come_from(filled: Bench) -> None:
    assert [
        (row["producer"], row["place"], row["reason"], row["column"], row["value"]) for row in filled.rows(order_by="quarantine_time")
    ] == [
        (PRODUCER, "batch 2, row 1", "VALUE_DOES_NOT_FIT", "delay", "late"),
        (PRODUCER, "batch 3, row 2", "COLUMN_UNKNOWN", "extra", "boo"),
    ]
    assert [row["data"]["id"] for row in filled.rows(filter=f'producer = "{PRODUCER}" AND ingestion_id = ""')] == [4, 3]
    assert filled.rows(filter='producer = "other"') == []
    assert [row["ingestion_id"] for row in filled.rows()] == ["", ""]


def test_rows_are_repaired_and_replayed(filled: Bench) -> None:
    late, extra = (row["id"] for row in filled.rows(order_by="quarantine_time"))
    outcome = filled.replay(repairs={late: {"delay": 9}, extra: {"extra": None}})
    assert (outcome["rows_written"], outcome["rows_quarantined"]) == (2, 0)
    assert filled.rows() == []
    assert ids(filled) == [1, 2, 3, 4, 5]
    # What a replay leaves out again is an ingestion's.
    append(filled, {4: ndjson({"id": 6, "delay": "x"})})
    again = filled.replay(ingestion_id="the-replay")
    assert again["rows_quarantined"] == 1
    assert [(row["ingestion_id"], row["producer"], row["place"]) for row in filled.rows()] == [("the-replay", "", "")]


def test_a_batch_that_died_before_its_commit_is_in_quarantine_once(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def staged_and_killed(self: Staging, *arguments: Any) -> Sequence[Delivery]:
        original(self, *arguments)
        raise Killed

    original, before, rows = Staging.marks, filled.rows(), {4: ndjson({"id": 6, "delay": "x"}, {"id": 7, "delay": 1})}
    with monkeypatch.context() as patched:
        patched.setattr(Staging, "marks", staged_and_killed)
        with pytest.raises(Killed):
            append(filled, rows)
    assert filled.rows() == before
    assert append(filled, rows)["acknowledged"][0]["rows_rejected"] == 1
    assert append(filled, rows)["acknowledged"][0]["was_written_before"]
    assert [row["data"]["id"] for row in filled.rows()] == [6, 4, 3]
    assert ids(filled) == [1, 2, 5, 7]


def test_many_rows_are_counted_for_their_batches_and_a_few_are_told(bench: Bench) -> None:
    append(bench, {1: ndjson({"id": 0})})
    batches = {number: ndjson(*({"id": "x" if row % 2 else number} for row in range(300 * (number - 1)))) for number in range(2, 5)}
    acknowledged = append(bench, batches)["acknowledged"]
    assert [(each["rows_written"], each["rows_rejected"]) for each in acknowledged] == [(150, 150), (300, 300), (450, 450)]
    assert [[row["row"] for row in each["rejected"]] for each in acknowledged] == [list(range(2, 202, 2))] * 3
    found = bench.rows()
    assert len(found) == 900
    assert [found[place]["place"] for place in (0, 150, 449, 450, 899)] == [
        f"batch {number}, row {row}" for number, row in ((2, 2), (3, 2), (3, 600), (4, 2), (4, 900))
    ]


def test_batches_of_which_all_rows_fit_leave_no_file(bench: Bench) -> None:
    append(bench, {1: ndjson({"id": 1})})
    append(bench, {2: ndjson({"id": 2})})
    assert QuarantineFolder(bench.quarantine).found().rows == ()
