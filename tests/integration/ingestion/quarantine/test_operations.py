"""Rows go into quarantine with the commit that leaves them out, and leave it with the commit that writes them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from servers.ingestion.data_process.quarantine import replay as replay_module
from servers.ingestion.data_process.quarantine.contents import Contents
from servers.ingestion.data_process.quarantine.errors import QuarantineChanged
from servers.ingestion.data_process.quarantine.folder import QuarantineFolder
from servers.ingestion.data_process.quarantine.staging import Staging
from servers.ingestion.table_errors import SchemaFrozen, TableNotFound
from servers.ingestion.tables import Delivery
from tests.integration.ingestion.quarantine.bench import Bench, place_of

GOOD = "id,delay\n1,5\n2,6\n"
BAD = "id,delay,extra\n3,x,\n4,7,\n5,8,boo\n6,y,\n"
NOT_EARLY = {"name": "s", "expectations": [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "delay", "min_value": 0}}]}


@pytest.fixture
def filled(bench: Bench) -> Bench:
    """A dataset with ids 1, 2 and 4, and the rows 3, 5 and 6 in its quarantine."""
    bench.ingest(GOOD)
    assert bench.ingest(BAD)["rows_quarantined"] == 3
    return bench


def ids(bench: Bench) -> list[int]:
    return sorted(bench.dataset_rows()["id"].to_pylist())


def files(bench: Bench) -> list[str]:
    found = QuarantineFolder(bench.quarantine).found()
    return [file.path for file in (*found.rows, *found.replaced, *found.gone)]


def in_quarantine(bench: Bench, **arguments: Any) -> list[int]:
    return [row["data"]["id"] for row in bench.rows(**arguments)]


def test_what_is_left_out_is_in_quarantine_as_it_was_read(filled: Bench) -> None:
    rows = filled.rows()

    assert [(row["row"], row["column"], row["value"], row["reason"]) for row in rows] == [
        (1, "delay", "x", "VALUE_DOES_NOT_FIT"),
        (3, "extra", "boo", "COLUMN_UNKNOWN"),
        (4, "delay", "y", "VALUE_DOES_NOT_FIT"),
    ]
    assert [row["data"] for row in rows][1] == {"id": 5, "delay": "8", "extra": "boo"}
    assert len({row["id"] for row in rows}) == 3
    assert ids(filled) == [1, 2, 4]
    assert sorted(path.name for path in filled.folder.glob("scratch/*")) == []


def test_a_dataset_without_left_out_rows_has_an_empty_quarantine_and_no_file(bench: Bench) -> None:
    assert bench.ingest(GOOD)["rows_quarantined"] == 0
    assert bench.rows() == []
    assert files(bench) == []
    assert bench.discard() == 0
    assert bench.replay()["rows_read"] == 0


def test_null_keys_of_an_upsert_go_into_quarantine(bench: Bench) -> None:
    outcome = bench.ingest("id,delay\n1,5\n,6\n1,7\n", mode="UPSERT", keys=["id"])

    assert (outcome["rows_written"], outcome["rows_quarantined"]) == (1, 1)
    assert [(row["row"], row["column"], row["reason"], row["data"]) for row in bench.rows()] == [
        (2, "id", "KEY_IS_NULL", {"id": None, "delay": 6})
    ]


def test_rows_of_gate_and_contract_are_together_in_the_order_of_the_source(bench: Bench) -> None:
    bench.ingest("id,delay\n0,1\n")
    rows = "".join(f"{n},{-1 if n % 5 == 0 else 3},{'z' if n % 7 == 0 else ''}\n" for n in range(1, 101))
    outcome = bench.ingest(f"id,delay,extra\n{rows}", gate={"suite": NOT_EARLY, "mode": "DISCARD_ROW"})

    expected = [
        (n, "expect_column_values_to_be_between" if n % 5 == 0 else "COLUMN_UNKNOWN") for n in range(1, 101) if n % 5 == 0 or n % 7 == 0
    ]
    assert [(row["row"], row["reason"]) for row in bench.rows()] == expected
    assert in_quarantine(bench) == [n for n, _ in expected]
    assert outcome["rows_quarantined"] == outcome["rows_rejected"] == len(expected)
    assert len(ids(bench)) == 101 - len(expected)
    # Once the column may come, only those that the gate stops stay.
    again = bench.replay(gate={"suite": NOT_EARLY, "mode": "DISCARD_ROW"}, contract={"columns": "EVOLVE"})
    assert again["rows_quarantined"] == len([n for n, reason in expected if reason.startswith("expect")])


def test_what_is_refused_leaves_nothing(filled: Bench) -> None:
    before = filled.rows()
    with pytest.raises(SchemaFrozen):
        filled.ingest(BAD, contract={"columns": "FREEZE", "types": "DISCARD_ROW"})
    strict = {"name": "s", "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 100}}]}
    assert filled.ingest(BAD, gate={"suite": strict})["is_refused"]

    assert filled.rows() == before
    assert len(files(filled)) == 1


def test_an_attempt_that_died_before_its_commit_shows_nothing_and_the_next_one_counts(
    filled: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, ingestion_id = filled.rows(), str(uuid.uuid4())

    class Killed(BaseException):
        pass

    def staged_and_killed(self: Staging, *arguments: Any) -> Sequence[Delivery]:
        original(self, *arguments)
        raise Killed

    original = Staging.marks
    with monkeypatch.context() as patched:
        patched.setattr(Staging, "marks", staged_and_killed)
        with pytest.raises(Killed):
            filled.ingest(BAD, ingestion_id=ingestion_id)
    assert len(files(filled)) == 2
    assert filled.rows() == before

    assert filled.ingest(BAD, ingestion_id=ingestion_id)["rows_quarantined"] == 3
    again = filled.ingest(BAD, ingestion_id=ingestion_id)
    assert again["was_delivered_before"]
    assert (again["rows_quarantined"], again["rows_rejected"], [row["row"] for row in again["rejected"]]) == (3, 3, [1, 3, 4])
    assert in_quarantine(filled) == [3, 5, 6, 3, 5, 6]
    # What the dead attempt left goes with the next vacuum.
    filled.do("vacuum", retention_s=0)
    assert len(files(filled)) == 2
    assert in_quarantine(filled) == [3, 5, 6, 3, 5, 6]


def test_rows_are_judged_anew_where_others_change_the_schema_meanwhile(filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    original, others = Staging.marks, ["id,delay,extra\n90,1,now it is known\n"]

    def overtaken(self: Staging, *arguments: Any) -> Sequence[Delivery]:
        marks = original(self, *arguments)
        if others:
            filled.ingest(others.pop(), contract={})
        return marks

    monkeypatch.setattr(Staging, "marks", overtaken)
    outcome = filled.ingest("id,delay,extra\n7,1,new\n8,z,\n9,1,\n")

    # The column is known by now, so only the value that does not fit is left out, and nothing is told of the first judgement.
    assert [(row["row"], row["reason"]) for row in outcome["rejected"]] == [(2, "VALUE_DOES_NOT_FIT")]
    assert outcome["rows_quarantined"] == 1
    assert in_quarantine(filled) == [8, 3, 5, 6]
    assert ids(filled) == [1, 2, 4, 7, 9, 90]


class TestReplay:
    def test_repaired_rows_are_written_and_leave(self, filled: Bench) -> None:
        first, second, third = (row["id"] for row in filled.rows())
        outcome = filled.replay(repairs={first: {"delay": 9}, second: {"extra": None}, third: {"delay": "10"}})

        assert (outcome["rows_read"], outcome["rows_written"], outcome["rows_quarantined"]) == (3, 3, 0)
        assert filled.rows() == []
        assert ids(filled) == [1, 2, 3, 4, 5, 6]
        assert {row["id"]: row["delay"] for row in filled.dataset_rows().to_pylist()} == {1: 5, 2: 6, 3: 9, 4: 7, 5: 8, 6: 10}
        assert not [name for name in files(filled) if name.startswith("rows/")]

    def test_what_is_left_out_again_stays_under_its_id_with_its_new_reason(self, filled: Bench) -> None:
        before = filled.rows()
        first = before[0]["id"]
        outcome = filled.replay(ingestion_id="the-replay", repairs={first: {"delay": "9h"}, before[1]["id"]: {"extra": None}})

        assert (outcome["rows_written"], outcome["rows_quarantined"]) == (1, 1)
        after = {row["id"]: row for row in filled.rows()}
        assert after.keys() == {first, before[2]["id"]}
        assert after[first] | {"quarantine_time": ""} == {
            **{"id": first, "ingestion_id": "the-replay", "row": 1, "column": "delay", "value": "9h", "reason": "VALUE_DOES_NOT_FIT"},
            **{"data": {"id": 3, "delay": "9h", "extra": None}, "quarantine_time": ""},
            **{"origin": "the-replay", "producer": "", "subscription": "", "place": ""},
        }
        assert after[before[2]["id"]] == before[2]
        assert filled.replay(repairs={first: {"delay": 9}})["rows_written"] == 1
        assert filled.replay(repairs={first: {"delay": 9}})["rows_read"] == 0

    def test_all_are_replayed_where_the_dataset_has_changed(self, filled: Bench) -> None:
        filled.ingest("id,delay,extra\n7,1,known\n", contract={})
        outcome = filled.replay()

        assert (outcome["rows_written"], outcome["rows_quarantined"]) == (1, 2)
        assert ids(filled) == [1, 2, 4, 5, 7]
        assert in_quarantine(filled) == [3, 6]

    def test_a_filter_selects(self, filled: Bench) -> None:
        outcome = filled.replay(filter='reason = "COLUMN_UNKNOWN"', contract={"columns": "EVOLVE", "types": "DISCARD_ROW"})
        assert outcome["rows_written"] == 1
        assert outcome["schema_changes"] == ["column 'extra' was added (string)"]
        assert in_quarantine(filled) == [3, 6]

    def test_an_upsert_replaces(self, filled: Bench) -> None:
        row = filled.rows()[0]["id"]
        outcome = filled.replay(mode="UPSERT", keys=["id"], repairs={row: {"id": 1, "delay": 99}})
        assert (outcome["rows_written"], outcome["rows_updated"]) == (1, 1)
        assert ids(filled) == [1, 2, 4]

    def test_a_repeated_one_writes_once(self, filled: Bench) -> None:
        row = filled.rows()[0]["id"]
        first = filled.replay(ingestion_id="r", repairs={row: {"delay": 1}})
        again = filled.replay(ingestion_id="r", repairs={row: {"delay": 1}})
        assert (first["was_delivered_before"], again["was_delivered_before"]) == (False, True)
        assert again["version"] == first["version"]
        assert ids(filled) == [1, 2, 3, 4]

    def test_of_two_that_read_the_same_rows_one_writes_them(self, filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        row, others = filled.rows()[0]["id"], [1]
        original = Staging.marks

        def overtaken(self: Staging, *arguments: Any) -> Sequence[Delivery]:
            marks = original(self, *arguments)
            if others:
                others.pop()
                assert filled.replay(repairs={row: {"delay": 1}})["rows_written"] == 1
            return marks

        monkeypatch.setattr(Staging, "marks", overtaken)
        with pytest.raises(QuarantineChanged):
            filled.replay(ingestion_id="slow", repairs={row: {"delay": 2}})
        # The task of it is tried again.
        assert filled.replay(ingestion_id="slow", repairs={row: {"delay": 2}})["rows_read"] == 0
        assert ids(filled) == [1, 2, 3, 4]

    def test_what_is_discarded_meanwhile_does_not_come_back(self, filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        rows, others = filled.rows(), [1]
        original = Staging.marks

        def overtaken(self: Staging, *arguments: Any) -> Sequence[Delivery]:
            marks = original(self, *arguments)
            if others:
                others.pop()
                assert filled.discard(ids=[rows[0]["id"]]) == 1
            return marks

        monkeypatch.setattr(Staging, "marks", overtaken)
        filled.replay()
        assert in_quarantine(filled) == [5, 6]

    def test_an_attempt_that_died_takes_nothing(self, filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        before = filled.rows()

        class Killed(BaseException):
            pass

        def killed(*_arguments: Any) -> Delivery:
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(replay_module.Replayed, "mark", killed)
            with pytest.raises(Killed):
                filled.replay(ingestion_id="r", repairs={before[0]["id"]: {"delay": 1}})
        assert filled.rows() == before
        assert filled.replay(ingestion_id="r", repairs={before[0]["id"]: {"delay": 1}})["rows_written"] == 1
        assert ids(filled) == [1, 2, 3, 4]

    def test_rows_read_in_different_types_are_replayed_together(self, filled: Bench) -> None:
        filled.ingest(pa.table({"id": [7, 8], "delay": [1.5, 2.0]}))
        filled.ingest(pa.table({"id": [9], "delay": pa.array([[1]])}))
        assert sorted(in_quarantine(filled)) == [3, 5, 6, 7, 9]
        outcome = filled.replay(repairs={row["id"]: {"delay": row["data"]["id"], "extra": None} for row in filled.rows()})
        assert (outcome["rows_written"], outcome["rows_quarantined"]) == (5, 0)
        assert {row["id"]: row["delay"] for row in filled.dataset_rows().to_pylist()} == {
            **{1: 5, 2: 6, 3: 3, 4: 7, 5: 5, 6: 6, 7: 7, 8: 2, 9: 9}
        }

    def test_what_has_no_type_in_common_with_the_others_stays_as_it_is(self, filled: Bench) -> None:
        filled.ingest(pa.table({"id": [9], "delay": pa.array([[1]])}))
        outcome = filled.replay()
        assert "'delay'" in outcome["warnings"][0]
        assert sorted(in_quarantine(filled)) == [3, 5, 6, 9]
        assert ids(filled) == [1, 2, 4]


class TestListing:
    def test_a_row_too_large_for_a_page_is_shown_cut_and_hinders_no_other(self, bench: Bench) -> None:
        bench.ingest(pa.table({"id": [0], "n": [0]}), contract={})
        large = pa.array([list(range(1_500_000)), [1]], pa.list_(pa.int64()))
        texts = pa.array(["é" * 5_000_000, "y"])
        bench.ingest(pa.table({"id": [1, 2], "n": ["x", "z"], "large": large, "text": texts}))
        first, second = bench.rows()
        assert first["data"]["id"] == 1
        assert first["data"]["large"].startswith("[0,1,2,")
        assert [len(first["data"][name]) for name in ("large", "text")] == [1001, 1001]
        assert second["data"] == {"id": 2, "n": "z", "large": [1], "text": "y"}

    def test_pages_have_every_row_once_while_rows_come_and_go(self, bench: Bench) -> None:
        bench.ingest(GOOD)
        for start in range(10, 40, 10):
            bench.ingest("id,delay\n" + "".join(f"{n},x\n" for n in range(start, start + 10)))
        seen, after = [], None
        while True:
            page = bench.page(limit=7, after=after)
            seen += [row["data"]["id"] for row in page["rows"]]
            if not page["has_more"]:
                break
            after = place_of(page["rows"][-1])
            bench.ingest("id,delay\n99,x\n")
            bench.discard(ids=[page["rows"][-1]["id"]])
        assert seen == [*range(30, 40), *range(20, 30), *range(10, 20)]

    @pytest.mark.parametrize("order_by", ["quarantine_time", "quarantine_time desc", "ingestion_id", "ingestion_id desc"])
    def test_orders(self, bench: Bench, order_by: str) -> None:
        bench.ingest(GOOD)
        for name in ("b", "a", "c"):
            bench.ingest("id,delay\n1,x\n2,y\n", ingestion_id=name)
        rows = bench.rows()
        field, _, descends = order_by.partition(" ")
        expected = sorted(sorted(rows, key=lambda row: row["row"]), key=lambda row: row[field], reverse=bool(descends))
        found, after = [], None
        for _ in expected:
            page = bench.page(order_by=order_by, limit=1, after=after)
            found += page["rows"]
            after = place_of(page["rows"][-1])
        assert found == expected
        assert not page["has_more"]

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ('reason = "VALUE_DOES_NOT_FIT"', [3, 6]),
            ('column = "extra"', [5]),
            ('NOT column = "extra"', [3, 6]),
            ('reason = "VALUE*" AND column = "delay"', [3, 6]),
            ('ingestion_id = "none"', []),
            ('ingestion_id != "none" AND (column = "extra" OR reason = "nothing")', [5]),
            ('quarantine_time > "2020-01-01T00:00:00Z"', [3, 5, 6]),
            ('quarantine_time < "2020-01-01T00:00:00Z" OR column = "extra"', [5]),
        ],
    )
    def test_filters(self, filled: Bench, filter: str, expected: list[int]) -> None:
        assert in_quarantine(filled, filter=filter) == expected

    def test_a_file_that_no_row_can_match_is_not_opened(self, filled: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Contents, "groups", lambda *_arguments, **_more: pytest.fail("it was opened"))
        assert filled.rows(filter='ingestion_id = "none" AND column = "delay"') == []


class TestDiscard:
    def test_rows_are_removed_once(self, filled: Bench) -> None:
        rows = filled.rows()
        assert filled.discard(ids=[rows[0]["id"], "f" * 32 + "-1"]) == 1
        assert filled.discard(ids=[rows[0]["id"]]) == 0
        assert in_quarantine(filled) == [5, 6]
        assert filled.discard(filter='column = "delay"') == 1
        assert filled.discard() == 1
        assert filled.rows() == []
        assert not [name for name in files(filled) if name.startswith("rows/")]

    def test_a_vacuum_removes_their_bytes(self, filled: Bench) -> None:
        rows = filled.rows()
        filled.discard(ids=[rows[0]["id"]])
        filled.replay(repairs={rows[1]["id"]: {"extra": None}})
        filled.do("vacuum", retention_s=0)

        assert filled.rows() == rows[2:]
        [name] = files(filled)
        assert name.endswith(".1.parquet")
        [file] = QuarantineFolder(filled.quarantine).found().rows
        with QuarantineFolder(filled.quarantine).reading(file) as parquet:
            assert parquet.metadata.num_rows == 1
        assert filled.replay(repairs={rows[2]["id"]: {"delay": 0}})["rows_written"] == 1


def test_unknown_ids_are_named(filled: Bench) -> None:
    known = filled.rows()[0]["id"]
    wanted = ["nonsense", known, f"{known}0", "f" * 32 + "-1"]
    assert filled.do("unknown_quarantined", ids=wanted, filter=None) == [wanted[0], *wanted[2:]]


def test_a_deleted_dataset_has_no_quarantine_and_neither_has_its_successor(filled: Bench) -> None:
    filled.do("delete")
    assert files(filled) == []
    filled.do("delete")
    assert filled.rows() == []
    with pytest.raises(TableNotFound):
        filled.table.snapshot()
    filled.ingest(GOOD)
    assert filled.rows() == []


def test_a_rollback_and_a_compaction_leave_it_alone(filled: Bench) -> None:
    before = filled.rows()
    filled.table.rollback(1)
    filled.table.compact()
    assert filled.rows() == before
