"""The local engine: streams, spills, stops, and says what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from servers.processing.engines.local import LocalEngine, statements_of
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.errors import (
    Cancelled,
    FunctionFailed,
    OutOfMemory,
    SpillFull,
    ValueNotComputable,
    WrongInput,
)
from servers.processing.plan.binding import BoundPlan, bind
from servers.processing.plan.nodes import (
    Aggregate,
    Column,
    Filter,
    Join,
    JoinKey,
    Ordering,
    Project,
    PythonFunction,
    Scan,
    Top,
    TypedColumn,
)
from servers.processing.plan.plan import Plan, Step
from servers.runtime.duckdb_session import DuckdbLimits
from tests.integration.processing.relations import LIMITS, bound, local, results, rows_of

NUMBERS = pa.schema([("number", pa.int64())])
SCAN = Scan("numbers", "numbers")
MIB = 1 << 20


class Numbers:
    """A stream of numbers that says how many batches were taken from it.

    Args:
        batches: How many it has.
        rows: Of each.
        fails_at: The batch instead of which it raises.
    """

    def __init__(self, batches: int, rows: int = 10_000, fails_at: int | None = None) -> None:
        self.taken = 0
        self._batches, self._rows, self._fails_at = batches, rows, fails_at

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(NUMBERS, self._read())

    def _read(self) -> Iterator[pa.RecordBatch]:
        for number in range(self._batches):
            if number == self._fails_at:
                raise ConnectionResetError("the store hung up")
            self.taken += 1
            yield pa.record_batch({"number": pa.array(range(number * self._rows, (number + 1) * self._rows), pa.int64())})


def plan_of(*steps: Step, outputs: tuple[str, ...] | None = None) -> BoundPlan:
    return bind(Plan((SCAN, *steps), outputs or (steps[-1].name,)), {"numbers": NUMBERS})


def test_rows_stream_from_the_input_to_the_output() -> None:
    numbers = Numbers(batches=2_000)
    plan = plan_of(Filter("even", "numbers", "number % 2 = 0"), Project("half", "even", (Column("half", "number // 2"),)))

    with LocalEngine(LIMITS).run(plan, {"numbers": numbers.reader()}, Cancellation()) as outputs:
        first = outputs["half"].read_next_batch()

        assert first.num_rows > 0
        assert numbers.taken < 1_000


def test_nothing_is_read_after_the_run_was_left() -> None:
    numbers = Numbers(batches=2_000)

    with LocalEngine(LIMITS).run(plan_of(Filter("all", "numbers", "true")), {"numbers": numbers.reader()}, Cancellation()) as outputs:
        outputs["all"].read_next_batch()
    taken = numbers.taken

    assert taken < 1_000


def test_what_does_not_fit_into_memory_is_spilled_and_cleaned_up(tmp_path: Path) -> None:
    limits = DuckdbLimits(memory_bytes=48 * MIB, threads=1, spill_folder=tmp_path)
    text = Project("text", "numbers", (Column("text", "md5(number::VARCHAR) || md5((number + 1)::VARCHAR)"),), keeps_others=True)
    plan = plan_of(text, Top("sorted", "text", (Ordering("text"),)))
    spilled = set()

    with LocalEngine(limits).run(plan, {"numbers": Numbers(batches=200).reader()}, Cancellation()) as outputs:
        count = 0
        for batch in outputs["sorted"]:
            count += batch.num_rows
            spilled |= {path.name for path in tmp_path.rglob("*") if path.is_file()}

    assert count == 2_000_000
    assert spilled
    assert list(tmp_path.iterdir()) == []


def test_a_shared_step_is_spilled_too(tmp_path: Path) -> None:
    limits = DuckdbLimits(memory_bytes=48 * MIB, threads=1, spill_folder=tmp_path)
    text = Project("text", "numbers", (Column("text", "md5(number::VARCHAR) || md5((number + 1)::VARCHAR)"),), keeps_others=True)
    plan = plan_of(text, Aggregate("count", "text", (), (Column("count", "count(*)"),)), outputs=("text", "count"))

    with LocalEngine(limits).run(plan, {"numbers": Numbers(batches=200).reader()}, Cancellation()) as outputs:
        assert sum(batch.num_rows for batch in outputs["text"]) == 2_000_000
        assert outputs["count"].read_all().to_pylist() == [{"count": 2_000_000}]


def test_without_a_spill_folder_too_much_is_a_typed_error() -> None:
    limits = DuckdbLimits(memory_bytes=32 * MIB, threads=1)
    plan = plan_of(Top("sorted", "numbers", (Ordering("number", True),)))

    with pytest.raises((OutOfMemory, SpillFull), match="'sorted'") as raised:
        results(LocalEngine(limits), plan, {"numbers": Numbers(batches=1_000).reader()})

    assert raised.value.code.name == "RESOURCE_EXHAUSTED"


def test_a_full_spill_folder_is_a_typed_error(tmp_path: Path) -> None:
    limits = DuckdbLimits(memory_bytes=32 * MIB, threads=1, spill_folder=tmp_path, spill_bytes=8 * MIB)
    plan = plan_of(Top("sorted", "numbers", (Ordering("number", True),)))

    with pytest.raises(SpillFull):
        results(LocalEngine(limits), plan, {"numbers": Numbers(batches=1_000).reader()})

    assert list(tmp_path.iterdir()) == []


def test_cancelling_stops_a_query_that_runs() -> None:
    pairs = Join("pairs", "numbers", "numbers", (), condition="(number * number_right) % 1000 = 7")
    plan = plan_of(pairs, Aggregate("count", "pairs", (), (Column("count", "count(*)"),)))
    cancellation = Cancellation()
    numbers = Numbers(batches=30)

    def cancel_when_it_has_begun() -> None:
        while numbers.taken < 30:
            threading.Event().wait(0.001)
        cancellation.cancel()

    canceller = threading.Thread(target=cancel_when_it_has_begun)
    canceller.start()
    with LocalEngine(LIMITS).run(plan, {"numbers": numbers.reader()}, cancellation) as outputs, pytest.raises(Cancelled):
        outputs["count"].read_all()
    canceller.join()

    assert cancellation.is_cancelled


def test_cancelling_between_batches_stops_the_next_one() -> None:
    cancellation = Cancellation()

    with LocalEngine(LIMITS).run(plan_of(Filter("all", "numbers", "true")), {"numbers": Numbers(2_000).reader()}, cancellation) as outputs:
        outputs["all"].read_next_batch()
        cancellation.cancel()
        with pytest.raises(Cancelled):
            outputs["all"].read_all()


def test_a_run_that_was_cancelled_before_computes_nothing() -> None:
    cancellation, numbers = Cancellation(), Numbers(batches=1)
    cancellation.cancel()
    plan = plan_of(Filter("all", "numbers", "true"))

    with LocalEngine(LIMITS).run(plan, {"numbers": numbers.reader()}, cancellation) as outputs, pytest.raises(Cancelled):
        outputs["all"].read_all()

    assert numbers.taken == 0


def test_cancelling_stops_a_python_function_between_calls() -> None:
    cancellation = Cancellation()
    function = PythonFunction("same", "numbers", "def same(rows):\n    return rows", "same", (TypedColumn("number", "BIGINT"),))
    plan = plan_of(function, Aggregate("count", "same", (), (Column("count", "count(*)"),)))
    numbers = Numbers(batches=100_000)

    def cancel_when_it_has_begun() -> None:
        while numbers.taken < 10:
            threading.Event().wait(0.001)
        cancellation.cancel()

    canceller = threading.Thread(target=cancel_when_it_has_begun)
    canceller.start()
    with LocalEngine(LIMITS).run(plan, {"numbers": numbers.reader()}, cancellation) as outputs, pytest.raises(Cancelled):
        outputs["count"].read_all()
    canceller.join()

    assert numbers.taken < 100_000


def test_an_error_of_an_input_comes_out_as_it_was() -> None:
    plan = plan_of(Aggregate("count", "numbers", (), (Column("count", "count(*)"),)))

    with pytest.raises(ConnectionResetError, match="hung up"):
        results(LocalEngine(LIMITS), plan, {"numbers": Numbers(batches=9, fails_at=5).reader()})


def test_a_value_that_cannot_be_computed_is_a_typed_error() -> None:
    with pytest.raises(ValueNotComputable, match=r"'number'.*abc"):
        local(
            {"texts": pa.table({"text": ["1", "abc"]})},
            Scan("texts", "texts"),
            Project("number", "texts", (Column("number", "text::INTEGER"),)),
        )


def test_a_sum_that_no_decimal_holds_is_a_typed_error() -> None:
    huge = pa.table({"number": pa.array([2**62] * 3, pa.int64())})

    with pytest.raises(ValueNotComputable, match="'product'"):
        local({"huge": huge}, Scan("huge", "huge"), Project("product", "huge", (Column("product", "number::HUGEINT * number * 1000"),)))


def function(source: str, **columns: str) -> PythonFunction:
    return PythonFunction(
        "made", "numbers", source, "made", tuple(TypedColumn(*each) for each in columns.items()) or (TypedColumn("number", "BIGINT"),)
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def made(rows):\n    return rows['nothing']", "raised KeyError"),
        ("def made(rows):\n    raise SystemError('broken')", r"SystemError: broken \(line 2 of its source\)"),
        ("def made(rows):\n    return 5", "returned int; it has to return a pyarrow.RecordBatch"),
        ("def other(rows):\n    return rows", "defines no function 'made'"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("def made(rows:\n", "SyntaxError"),
        ("def made(rows):\n    return rows.rename_columns(['other'])", r"returned the columns \['other'\]; its schema says \['number'\]"),
        (
            "import pyarrow as pa\ndef made(rows):\n    return pa.table({'number': ['a']})",
            "returned string in column 'number'; its schema says int64",
        ),
    ],
)
@pytest.mark.parametrize("reads_on", [False, True])
def test_a_python_function_that_fails_says_where(source: str, message: str, reads_on: bool) -> None:
    after = (Aggregate("count", "made", (), (Column("count", "count(*)"),)),) if reads_on else ()

    with pytest.raises(FunctionFailed, match=message) as raised:
        results(LocalEngine(LIMITS), plan_of(function(source), *after), {"numbers": Numbers(batches=2).reader()})

    assert raised.value.metadata == {"step": "made"}


def test_a_python_function_gets_all_rows_of_a_key_in_one_table() -> None:
    source = "import pyarrow as pa\ndef made(rows):\n    return pa.table({'third': rows['third'][:1], 'rows': [rows.num_rows]})"
    thirds = Project("thirds", "numbers", (Column("third", "CASE WHEN number % 3 < 2 THEN number % 3 END"),))
    made = PythonFunction("made", "thirds", source, "made", (TypedColumn("third", "BIGINT"), TypedColumn("rows", "BIGINT")), ("third",))

    found = results(LocalEngine(LIMITS), plan_of(thirds, made), {"numbers": Numbers(batches=9).reader()})["made"]

    assert rows_of(found) == rows_of(pa.table({"third": [0, 1, None], "rows": [30_000] * 3}))


def test_a_stream_can_be_read_by_many_steps_and_outputs() -> None:
    total = Aggregate("total", "numbers", (), (Column("total", "count(*)"),))
    again = Scan("again", "numbers")
    joined = Join("joined", "numbers", "again", (JoinKey("number", "number"),))
    plan = plan_of(again, total, joined, outputs=("numbers", "total", "joined"))

    found = results(LocalEngine(LIMITS), plan, {"numbers": Numbers(batches=3).reader()})

    assert {name: table.num_rows for name, table in found.items()} == {"numbers": 30_000, "total": 1, "joined": 30_000}


def test_outputs_can_be_read_in_any_order_and_side_by_side() -> None:
    plan = plan_of(Filter("even", "numbers", "number % 2 = 0"), Filter("odd", "numbers", "number % 2 = 1"), outputs=("even", "odd"))

    with LocalEngine(LIMITS).run(plan, {"numbers": Numbers(batches=30).reader()}, Cancellation()) as outputs:
        first = outputs["odd"].read_next_batch().num_rows
        even = outputs["even"].read_all().num_rows
        odd = first + outputs["odd"].read_all().num_rows

    assert (even, odd) == (150_000, 150_000)


def test_a_plan_without_functions_is_one_statement_an_output() -> None:
    plan = plan_of(
        Filter("even", "numbers", "number % 2 = 0"),
        Filter("small", "even", "number < 5"),
        Filter("large", "even", "number > 5"),
        outputs=("small", "large"),
    )

    statements = statements_of(plan)

    assert (statements.roots, statements.kept) == (("even", "small", "large"), {"even"})


def test_the_order_of_an_output_that_is_a_top_is_kept() -> None:
    shuffled = Project("shuffled", "numbers", (Column("hash", "md5_number_lower(number::VARCHAR)"), Column("huge", "number::HUGEINT")))
    plan = plan_of(shuffled, Top("sorted", "shuffled", (Ordering("hash", True),)))

    found = results(LocalEngine(LIMITS), plan, {"numbers": Numbers(batches=100).reader()})["sorted"]["hash"].to_pylist()

    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"numbers": pa.table({"number": ["1"]})},
        {"numbers": pa.table({"other": [1]})},
        {"numbers": pa.table({"number": [1], "more": [1]})},
    ],
)
def test_inputs_other_than_those_of_the_plan_are_refused(given: dict[str, pa.Table]) -> None:
    with pytest.raises(WrongInput):
        results(LocalEngine(LIMITS), plan_of(Filter("all", "numbers", "true")), given)


def test_tables_may_be_given_as_tables_and_empty() -> None:
    empty = {"numbers": NUMBERS.empty_table()}

    assert local(empty, SCAN, Aggregate("count", "numbers", (), (Column("count", "count(*)"),))).to_pylist() == [{"count": 0}]
    assert local(empty, SCAN).num_rows == 0


def test_names_with_quotes_and_keywords_are_only_names() -> None:
    table = pa.table({'a"b': [1], "select": [2], "x; DROP TABLE y": [3], "日本": [4], "input_0": [5], "matched": [6]})
    steps = (Scan("input_0", 'it\'s "odd"'), Filter("select", "input_0", '"a""b" = 1 AND "select" = 2'))

    assert results(LocalEngine(LIMITS), bound({'it\'s "odd"': table}, *steps), {'it\'s "odd"': table})["select"].equals(table)
