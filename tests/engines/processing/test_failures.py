"""What fails, is cancelled or loses a worker ends as it does in one process, and the engine runs on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from servers.processing.engines.errors import WorkerLost
from servers.processing.engines.local import LocalEngine
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.errors import Cancelled, FunctionFailed, ValueNotComputable, WrongInput
from servers.processing.plan.binding import BoundPlan, bind
from servers.processing.plan.nodes import Aggregate, Column, CrossJoin, Filter, Project, PythonFunction, Scan, TypedColumn
from servers.processing.plan.plan import Plan, Step
from servers.runtime.errors import DomainError
from tests.engines.processing.conftest import Opened
from tests.integration.processing.relations import LIMITS, results, rows_of

NUMBERS = pa.table({"number": pa.array(range(200), pa.int64())})
SCAN = Scan("numbers", "numbers")
NUMBER = (TypedColumn("number", "BIGINT"),)
COUNT = Aggregate("count", "numbers", (), (Column("rows", "count(*)"),))


def plan_of(*steps: Step, outputs: tuple[str, ...] = ()) -> BoundPlan:
    return bind(Plan((SCAN, *steps), outputs or (steps[-1].name,)), {"numbers": NUMBERS.schema})


def function(name: str, source: str, reads: str = "numbers", **values: object) -> PythonFunction:
    text = "".join(f"{key} = {value!r}\n" for key, value in values.items()) + source
    return PythonFunction(name, reads, text, "given", NUMBER)


def failure(engine: object, plan: BoundPlan) -> DomainError:
    with pytest.raises(DomainError) as caught:
        results(engine, plan, {"numbers": NUMBERS})  # type: ignore[arg-type]
    return caught.value


def still_runs(opened: Opened) -> None:
    assert results(opened.engine, plan_of(COUNT), {"numbers": NUMBERS})["count"].to_pylist() == [{"rows": 200}]


def files_of_inputs(opened: Opened) -> list[str]:
    # Unlike `rglob`, it does not mind a folder that goes meanwhile, as that of a worker that is replaced.
    return [name for _, _, names in os.walk(opened.spill_folder) for name in names if name.endswith(".arrows")]


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (Project("wrong", "numbers", (Column("n", "CAST('x' || number AS INTEGER)"),)), ValueNotComputable),
        (function("wrong", "def given(rows):\n    raise KeyError(f'no {rows.num_rows < 0}')"), FunctionFailed),
        (function("wrong", "def given(rows):\n    return 7"), FunctionFailed),
        (function("wrong", "def given(rows)"), FunctionFailed),
    ],
    ids=["value", "raises", "returns", "syntax"],
)
def test_a_step_fails_as_it_does_locally(opened: Opened, step: Step, kind: type[DomainError]) -> None:
    plan = plan_of(step)

    wanted, found = failure(LocalEngine(LIMITS), plan), failure(opened.engine, plan)

    assert type(found) is type(wanted) is kind
    assert (found.reason, found.metadata) == (wanted.reason, wanted.metadata)
    if kind is FunctionFailed:
        assert found.message == wanted.message
    still_runs(opened)


def test_a_step_that_fails_late_after_an_exchange_says_which(opened: Opened) -> None:
    halves = Aggregate("halves", "numbers", (Column("half", "number // 2"),), (Column("rows", "count(*)"),))
    wrong = Project("wrong", "halves", (Column("n", "CASE WHEN half = 77 THEN error('seventy-seven') ELSE half::VARCHAR END"),))

    found = failure(opened.engine, plan_of(halves, wrong, Filter("after", "wrong", "n <> ''"), outputs=("after", "halves")))

    assert "seventy-seven" in found.message
    assert "'wrong'" in found.message


class HungUp(Exception):
    pass


def test_an_input_that_fails_is_raised_as_it_is(opened: Opened) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from NUMBERS.to_batches()
        raise HungUp("the store hung up")

    reader = pa.RecordBatchReader.from_batches(NUMBERS.schema, batches())
    with pytest.raises(HungUp, match="the store hung up"), opened.engine.run(plan_of(COUNT), {"numbers": reader}, Cancellation()):
        raise AssertionError("it has read an input that failed")
    assert files_of_inputs(opened) == []


def test_an_input_with_other_columns_is_refused(opened: Opened) -> None:
    with pytest.raises(WrongInput, match="'number'"):
        results(opened.engine, plan_of(COUNT), {"numbers": pa.table({"number": ["x"]})})
    with pytest.raises(WrongInput, match="missing"):
        results(opened.engine, plan_of(COUNT), {})


def test_nothing_runs_that_was_cancelled_before(opened: Opened) -> None:
    cancellation = Cancellation()
    cancellation.cancel()

    with pytest.raises(Cancelled), opened.engine.run(plan_of(COUNT), {"numbers": NUMBERS}, cancellation):
        raise AssertionError("it ran")


def cancelled_while_it_runs(opened: Opened, plan: BoundPlan, marker: Path) -> None:
    cancellation, polled = Cancellation(), threading.Event()

    def run() -> None:
        with opened.engine.run(plan, {"numbers": NUMBERS}, cancellation) as outputs:
            for reader in outputs.values():
                reader.read_all()

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(run)
        while not marker.exists() and not running.done():
            polled.wait(0.02)
        cancellation.cancel()
        with pytest.raises(Cancelled):
            running.result()
    # Its tasks had every worker and would have computed for days.
    still_runs(opened)


def test_a_query_that_computes_is_stopped(opened: Opened, tmp_path: Path) -> None:
    marker = tmp_path / "began"
    begins = function("begins", "def given(rows):\n    open(marker, 'w').close()\n    return rows", marker=str(marker))
    many = [Project("many", "begins", (Column("n", "number"),))]
    for power in range(4):
        many.append(CrossJoin(f"cross_{power}", many[-1].name, "numbers", f"_{power}"))  # type: ignore[arg-type]
    endless = Aggregate("endless", "cross_3", (Column("n", "n"),), (Column("sum", "sum(number * number_1 % 7)"),))

    cancelled_while_it_runs(opened, plan_of(begins, *many, endless), marker)


def test_a_function_that_never_returns_is_stopped(opened: Opened, tmp_path: Path) -> None:
    marker = tmp_path / "began"
    endless = function("endless", "def given(rows):\n    open(marker, 'w').close()\n    while True: pass", marker=str(marker))

    cancelled_while_it_runs(opened, plan_of(endless), marker)


def test_a_worker_that_is_killed_is_replaced_and_its_rows_are_computed_again(opened: Opened, tmp_path: Path) -> None:
    kill_once = (
        "import os\n"
        "def given(rows):\n"
        "    if 137 in rows['number'].to_pylist() and not os.path.exists(marker):\n"
        "        open(marker, 'w').close()\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return rows.select(['number'])\n"
    )
    marker = tmp_path / "killed"
    moved = Aggregate("moved", "numbers", (Column("number", "number"),), (Column("rows", "count(*)"),))
    plan = plan_of(
        moved,
        function("killed", kill_once, "moved", marker=str(marker)),
        Aggregate("after", "killed", (Column("third", "number // 3"),), (Column("sum", "sum(number)"),)),
    )

    found = results(opened.engine, plan, {"numbers": NUMBERS})

    assert marker.exists()
    assert rows_of(found["after"]) == rows_of(results(LocalEngine(LIMITS), plan, {"numbers": NUMBERS})["after"])


def test_workers_that_are_killed_every_time_are_an_error_with_a_name(opened: Opened) -> None:
    kills = function(
        "kills", "import os\ndef given(rows):\n    if 137 in rows['number'].to_pylist(): os.kill(os.getpid(), 9)\n    return rows"
    )

    assert type(failure(opened.engine, plan_of(kills))) is WorkerLost
    still_runs(opened)


def test_a_run_leaves_nothing_in_the_spill_folder(opened: Opened) -> None:
    with opened.engine.run(plan_of(COUNT, outputs=("count", "numbers")), {"numbers": NUMBERS}, Cancellation()) as outputs:
        outputs["numbers"].read_next_batch()

    assert files_of_inputs(opened) == []
