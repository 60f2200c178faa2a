"""One plan, the same rows: on real workers of Ray, Dask and Spark as in one process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings

from servers.processing.engines.local import LocalEngine
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.binding import BoundPlan, bind
from servers.processing.plan.nodes import (
    Aggregate,
    AsOfJoin,
    Column,
    CrossJoin,
    Deduplicate,
    Filter,
    Join,
    JoinKey,
    JoinKind,
    Ordering,
    PythonFunction,
    Scan,
    Top,
    TypedColumn,
    Union,
    Window,
    WindowColumn,
)
from servers.processing.plan.plan import Plan, Step
from servers.processing.plan.steps import Encode, EncodedColumn, EncodeKind, Impute, ImputeStrategy, Sample, Scale
from tests.engines.processing.conftest import Opened
from tests.integration.processing.plans import SCHEMAS, plans, tables
from tests.integration.processing.relations import LIMITS, results, rows_of
from tests.integration.processing.test_engines_agree import _attempted
from tests.integration.processing.test_pairs_of_steps import FACTS, TABLES, first_steps, second_steps, table

EVENTS, SCAN_FACTS = Scan("events", "events"), Scan("scan_facts", "facts")
KEY, WORD = JoinKey("key", "key"), JoinKey("word", "word")
BY_WORD = """
import pyarrow as pa

def described(rows):
    values = rows.to_pylist()
    return pa.table({"word": pa.array([values[0]["word"]], pa.string()), "rows": [len(values)], "last": [str(values[-1]["moment"])]})
"""
ROWWISE = """
import pyarrow as pa
import pyarrow.compute as pc

def doubled(batch):
    return pa.record_batch({"key": batch["key"], "twice": pc.multiply(pc.cast(batch["big"], pa.float64(), safe=False), 2.0)})
"""


def agree(opened: Opened, plan: BoundPlan, inputs: dict[str, Any]) -> dict[str, pa.Table]:
    """The rows of an engine, after they were compared with those of the local one."""
    wanted = results(LocalEngine(LIMITS), plan, inputs)
    found = results(opened.engine, plan, inputs)
    assert {name: rows_of(rows) for name, rows in found.items()} == {name: rows_of(rows) for name, rows in wanted.items()}
    return found


def plan_of(inputs: dict[str, Any], *steps: Step, outputs: tuple[str, ...] = ()) -> BoundPlan:
    return bind(Plan(steps, outputs or (steps[-1].name,)), {name: rows.schema for name, rows in inputs.items()})


@settings(max_examples=12, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(plan=plans(), inputs=tables)
def test_random_plans_over_random_tables_agree(opened: Opened, plan: Plan, inputs: dict[str, pa.Table]) -> None:
    bound = bind(plan, SCHEMAS)

    wanted, wanted_error = _attempted(lambda: results(LocalEngine(LIMITS), bound, inputs))
    found, found_error = _attempted(lambda: results(opened.engine, bound, {name: rows.to_reader(3) for name, rows in inputs.items()}))

    assert found_error == wanted_error
    assert {name: rows_of(rows) for name, rows in found.items()} == {name: rows_of(rows) for name, rows in wanted.items()}


@pytest.mark.parametrize("number", range(len(second_steps())))
def test_a_step_after_another_agrees(opened: Opened, number: int) -> None:
    firsts, seconds = list(first_steps().values()), list(second_steps().values())
    # Each second step after one first step; the partitioned engine runs all pairs.
    first = firsts[number * 7 % len(firsts)]
    steps = (EVENTS, SCAN_FACTS, FACTS, first, Filter("filtered", "first", "key > 1"), seconds[number])
    outputs = ("second", "filtered")

    plan = plan_of(TABLES, *steps, outputs=(*outputs, "facts"))

    agree(opened, plan, TABLES)


def test_all_kinds_of_joins_agree_with_a_small_side_and_a_large_one(opened: Opened) -> None:
    joins: list[Step] = []
    for kind in JoinKind:
        joins += [
            Join(f"large_{kind.value}", "events", "scan_facts", (KEY,), kind, right_suffix="_2"),
            Join(f"small_{kind.value}", "events", "few", (KEY,), kind, right_suffix="_2"),
            Join(f"other_{kind.value}", "few", "events", (KEY, WORD), kind, right_suffix="_2"),
        ]
    few = Aggregate("few", "scan_facts", (Column("key", "key"),), (Column("word", "min(word)"), Column("moment", "max(moment)")))
    as_of: list[Step] = [
        AsOfJoin("as_of", "events", "scan_facts", (KEY,), "moment", "moment", 2, right_suffix="_2"),
        AsOfJoin("as_of_small", "events", "few", (KEY, WORD), "moment", "moment", is_strict=True, right_suffix="_2"),
        AsOfJoin("as_of_without_keys", "events", "scan_facts", (), "moment", "moment", kind=JoinKind.INNER, right_suffix="_2"),
        CrossJoin("cross", "events", "few", right_suffix="_2"),
    ]
    steps = (EVENTS, SCAN_FACTS, few, *joins, *as_of)

    agree(opened, plan_of(TABLES, *steps, outputs=tuple(step.name for step in (*joins, *as_of))), TABLES)


def test_scans_of_some_columns_agree(opened: Opened) -> None:
    some = Scan("some", "events", ("word", "key"))
    first, pairs = Top("first", "some", (), 3), CrossJoin("pairs", "some", "first")
    agree(opened, plan_of(TABLES, some, first, pairs, outputs=("first", "pairs")), TABLES)


def test_steps_that_are_not_joins_agree(opened: Opened) -> None:
    described = (TypedColumn("word", "VARCHAR"), TypedColumn("rows", "BIGINT"), TypedColumn("last", "VARCHAR"))
    steps: list[Step] = [
        PythonFunction("rowwise", "events", ROWWISE, "doubled", (TypedColumn("key", "INTEGER"), TypedColumn("twice", "DOUBLE"))),
        PythonFunction("by_word", "events", BY_WORD, "described", described, ("word",)),
        Aggregate("after_function", "rowwise", (Column("key", "key"),), (Column("rows", "count(twice)"),)),
        Impute("imputed", "events", ("big",), ImputeStrategy.MEDIAN),
        Scale("scaled", "imputed", ("key",)),
        Encode("encoded", "events", (EncodedColumn("word"),), EncodeKind.ORDINAL),
        Window(
            "windowed",
            "events",
            ("word", "key"),
            (Ordering("moment", True),),
            (WindowColumn("n", "row_number()"), WindowColumn("before", "lag(amount, 2)"), WindowColumn("all", "list(big)")),
        ),
        Window("of_all", "events", (), (Ordering("value"),), (WindowColumn("rank", "dense_rank()"),)),
        Deduplicate("first", "events", ("word",), (Ordering("big"),)),
        Sample("some", "events", 0.5, 7, ("moment",)),
        Union("both", ("some", "events")),
        Union("distinct", ("some", "events", "first"), is_distinct=True),
        Aggregate("one_row", "events", (), (Column("rows", "count(*)"), Column("sum", "sum(amount)"))),
        Filter("none", "events", "big > 1e18 AND flag AND key > 100"),
        Aggregate("of_none", "none", (), (Column("rows", "count(*)"),)),
        Aggregate("keys_of_none", "none", (Column("key", "key"),), (Column("rows", "count(*)"),)),
    ]

    agree(opened, plan_of(TABLES, EVENTS, *steps, outputs=tuple(step.name for step in steps)), {"events": TABLES["events"]})


def test_a_top_comes_in_its_order(opened: Opened) -> None:
    inputs = {"events": table("events", 60, 5)}
    order = (Ordering("word", True, True), Ordering("value"))
    plan = plan_of(
        inputs,
        EVENTS,
        Top("all", "events", order),
        Top("some", "events", order, 9, 4),
        Top("of_a_top", "some", (), 3),
        outputs=("all", "some", "of_a_top"),
    )

    wanted = results(LocalEngine(LIMITS), plan, inputs)
    found = results(opened.engine, plan, inputs)

    # As text, since NaN equals nothing.
    assert {name: str(rows.to_pylist()) for name, rows in found.items()} == {name: str(rows.to_pylist()) for name, rows in wanted.items()}


def test_every_type_survives_the_way(opened: Opened) -> None:
    moment = datetime(2026, 3, 29, 0, 59, 57, 123456, tzinfo=UTC)
    rows = pa.table(
        {
            "id": pa.array(range(40), pa.uint64()),
            "tiny": pa.array([None, 1, -128, 127] * 10, pa.int8()),
            "unsigned": pa.array([None, 0, 2**32 - 1, 5] * 10, pa.uint32()),
            "exact": pa.array([Decimal("12345678901234567890.1234567890"), None] * 20, pa.decimal128(38, 10)),
            "zoned": pa.array([moment + timedelta(hours=hour) for hour in range(40)], pa.timestamp("ns", "America/New_York")),
            "naive": pa.array([None, *range(39)], pa.timestamp("s")),
            "day": pa.array([None, *range(39)], pa.date32()),
            "time": pa.array([None, *range(39)], pa.time64("us")),
            "bytes": pa.array([b"\x00\xff", None] * 20, pa.large_binary()),
            "text": pa.array(["日本", None, "", "e\u0301"] * 10, pa.large_string()),
            "list": pa.array([[1, None], [], None, [3]] * 10, pa.list_(pa.int32())),
            "struct": pa.array([{"a": "x", "b": [1.5, None]}, None] * 20, pa.struct([("a", pa.string()), ("b", pa.list_(pa.float32()))])),
            "map": pa.array([[("k", 1)], None] * 20, pa.map_(pa.string(), pa.int16())),
            "word": pa.array(["a", "b", None, "a"] * 10).dictionary_encode(),
        }
    )
    inputs = {"rows": rows}
    steps: list[Step] = [
        Scan("rows", "rows"),
        Aggregate("by_struct", "rows", (Column("struct", '"struct"'),), (Column("rows", "count(*)"), Column("list", "max(list)"))),
        Aggregate("huge", "rows", (Column("text", "text"),), (Column("sum", "sum(id)"), Column("zoned", "min(zoned)"))),
        Deduplicate("by_zoned", "rows", ("zoned", "exact")),
        Join("joined", "rows", "huge", (JoinKey("text", "text"), JoinKey("id", "sum")), JoinKind.LEFT),
        Window("windowed", "rows", ("list",), (Ordering("id"),), (WindowColumn("place", "row_number()"),)),
    ]

    agree(opened, plan_of(inputs, *steps, outputs=("by_struct", "huge", "by_zoned", "joined", "windowed")), inputs)


@pytest.mark.parametrize("batches", [0, 1, 5])
def test_no_rows_are_no_mistake(opened: Opened, batches: int) -> None:
    empty = {name: pa.Table.from_batches([rows.to_batches()[0].slice(0, 0)] * batches, rows.schema) for name, rows in TABLES.items()}
    steps = (
        EVENTS,
        SCAN_FACTS,
        Join("joined", "events", "scan_facts", (KEY,), JoinKind.FULL, right_suffix="_2"),
        AsOfJoin("as_of", "events", "scan_facts", (KEY,), "moment", "moment", right_suffix="_2"),
        Aggregate("count", "joined", (), (Column("rows", "count(*)"),)),
        Top("top", "as_of", (Ordering("key"),), 3),
        Union("union", ("events", "events")),
    )

    found = agree(opened, plan_of(empty, *steps, outputs=("joined", "count", "top", "union", "events")), empty)

    assert found["count"].to_pylist() == [{"rows": 0}]


def test_one_key_with_nearly_all_rows_agrees(opened: Opened) -> None:
    skewed = pa.table({"key": [7] * 300 + list(range(20)), "value": range(320)})
    inputs = {"rows": skewed, "names": pa.table({"key": [7, 8, None], "name": ["seven", "eight", "nothing"]})}
    steps = (
        Scan("rows", "rows"),
        Scan("names", "names"),
        Join("joined", "rows", "names", (KEY,), JoinKind.LEFT, right_suffix="_2"),
        Join("hashed", "names", "rows", (KEY,), JoinKind.FULL, right_suffix="_2"),
        Aggregate("sums", "hashed", (Column("name", "name"),), (Column("sum", "sum(value)"),)),
    )

    agree(opened, plan_of(inputs, *steps, outputs=("joined", "sums")), inputs)


def test_workers_read_the_files_of_a_dataset_themselves(opened: Opened, tmp_path: Path) -> None:
    rows = TABLES["events"]
    for number in range(2):
        pq.write_table(rows.slice(number * 20, 20), tmp_path / f"{number}.parquet", row_group_size=7)
    dataset = pads.dataset(tmp_path, schema=rows.schema)
    inputs = {"events": dataset}
    steps = (EVENTS, Aggregate("words", "events", (Column("word", "word"),), (Column("rows", "count(*)"), Column("sum", "sum(amount)"))))
    plan = plan_of(inputs, *steps)

    found = agree(opened, plan, inputs)
    filtered = agree(opened, plan, {"events": dataset.filter(pads.field("key") > 2)})

    assert sum(found["words"]["rows"].to_pylist()) == 40
    assert sum(filtered["words"]["rows"].to_pylist()) == sum(1 for key in rows["key"].to_pylist() if key is not None and key > 2)


def test_rows_longer_than_a_chunk_and_many_batches_are_moved(opened: Opened) -> None:
    rows = pa.table({"key": range(12), "text": ["é" * length * 300 for length in range(12)]})
    inputs = {"rows": rows}
    plan = plan_of(inputs, Scan("rows", "rows"), Aggregate("longest", "rows", (Column("key", "key % 2"),), (Column("text", "max(text)"),)))

    agree(opened, plan, inputs)


def test_outputs_can_be_read_in_any_order_or_not_at_all(opened: Opened) -> None:
    plan = plan_of(TABLES, EVENTS, Filter("one", "events", "key > 0"), Filter("two", "one", "key > 1"), outputs=("one", "two", "events"))

    with opened.engine.run(plan, {"events": TABLES["events"]}, Cancellation()) as outputs:
        last = outputs["events"].read_all()
        first = outputs["one"].read_next_batch()

    assert rows_of(last) == rows_of(TABLES["events"])
    assert first.num_rows
