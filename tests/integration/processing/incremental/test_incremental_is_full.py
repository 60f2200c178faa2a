"""Whatever happened to the inputs: what an incremental run leaves is what a full run gives."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, DrawFn

from servers.ingestion.tables import WriteMode
from servers.processing.incremental.incremental_plan import needed_for
from servers.processing.incremental.keys import Keys, known_keys
from servers.processing.incremental.obstacles import judged_by_keys, judged_by_rows
from servers.processing.plan.binding import BoundPlan, bind
from servers.processing.plan.nodes import AsOfJoin, Join, JoinKey, JoinKind, PythonFunction, Scan, TypedColumn, inputs_of
from servers.processing.plan.plan import Plan
from servers.runtime.errors import DomainError
from servers.runtime.tables.errors import FullRecomputationNeeded
from tests.integration.processing import plans as random_plans
from tests.integration.processing.incremental.histories import ENGINE, History, Pipeline
from tests.integration.processing.plans import SCHEMAS, tables
from tests.integration.processing.relations import results, rows_of

STORED = {
    "events": SCHEMAS["events"],
    "facts": pa.schema([("key", pa.int64()), ("word", pa.string()), ("moment", pa.timestamp("us", "UTC")), ("score", pa.float32())]),
}


class _Keyed(random_plans._Growing):
    """Groups by the keys, too, wherever it groups."""

    keys: tuple[str, ...] = ()

    def some(self, names: Sequence[str], least: int = 1, most: int = 2) -> tuple[str, ...]:
        drawn = super().some(names, least, most)
        forgets = self.draw(st.integers(0, 9)) == 0
        return drawn if forgets else (*drawn, *(key for key in self.keys if key in names and key not in drawn))


def _have(plan: _Keyed, columns: Sequence[str], *steps: str) -> bool:
    return all(plan.columns[step].get(column) == random_plans.KINDS[column] for column in columns for step in steps)


def _keyed_join(plan: _Keyed) -> None:
    left, right, name = plan.any_step(), plan.any_step(), plan.name()
    columns = random_plans._joined(plan, left, right, f"_{name}")
    if columns is None or plan.joins == 2 or not _have(plan, plan.keys, left, right):
        return
    plan.joins += 1
    keys = tuple(JoinKey(key, key) for key in plan.keys)
    kind = plan.draw(st.sampled_from(JoinKind))
    half = kind in (JoinKind.SEMI, JoinKind.ANTI)
    plan.add(Join(name, left, right, keys, kind, right_suffix=f"_{name}"), plan.columns[left] if half else columns)


def _keyed_as_of(plan: _Keyed) -> None:
    left, right, name = plan.any_step(), plan.any_step(), plan.name()
    columns = random_plans._joined(plan, left, right, f"_{name}")
    if columns is None or not _have(plan, (*plan.keys, "moment"), left, right):
        return
    plan.add(
        AsOfJoin(name, left, right, tuple(JoinKey(key, key) for key in plan.keys), "moment", "moment", right_suffix=f"_{name}"), columns
    )


SOURCE = """
import pyarrow as pa

def first(rows):
    schema = pa.schema([("word", pa.string()), ("rows", pa.int64())])
    return pa.table({"word": [rows["word"][0].as_py()], "rows": [rows.num_rows]}, schema=schema)
"""


def _keyed_python(plan: _Keyed) -> None:
    step, name = plan.any_step(), plan.name()
    if plan.keys == ("word",) and _have(plan, plan.keys, step):
        schema = (TypedColumn("word", "VARCHAR"), TypedColumn("rows", "BIGINT"))
        plan.add(PythonFunction(name, step, SOURCE, "first", schema, ("word",)), {"word": "text", "rows": "number"})


_STEPS = [*random_plans._STEPS, *[_keyed_join, _keyed_as_of] * 3, _keyed_python]


def _part(bound: BoundPlan, output: str) -> BoundPlan:
    found, waiting = set(), [output]
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting += inputs_of(bound.nodes[name].node)
    return replace(bound, nodes={name: each for name, each in bound.nodes.items() if name in found}, outputs=(output,))


@st.composite
def keyed_plans(draw: DrawFn, keys: Keys) -> Plan:
    """A plan whose outputs are the latest steps that respect the keys: the scans always do."""
    plan = _Keyed(draw)
    plan.keys = keys.columns
    if draw(st.booleans()):
        plan.steps = [replace(step, columns=tuple(STORED[step.source].names)) for step in plan.steps if isinstance(step, Scan)]
    for step in draw(st.lists(st.sampled_from(_STEPS), min_size=2, max_size=7)):
        step(plan)
    whole = Plan(tuple(plan.steps), tuple(plan.columns))
    bound = bind(whole, STORED)
    known = known_keys(keys, bound)
    judgements = ((name, judged_by_keys(_part(bound, name), known)) for name in reversed(plan.columns))
    outputs = [name for name, judgement in judgements if not judgement.obstacles]
    return needed_for(whole, outputs[:2])


KINDS = ("append", "append", "upsert", "overwrite", "delete", "compact", "rollback", "columns")


class Histories:
    """Both inputs, and what happens to them."""

    def __init__(self, folder: Path, data: DataObject, kinds: Sequence[str] = KINDS, names: Sequence[str] = tuple(STORED)) -> None:
        self.data = data
        self.kinds = kinds
        self.names = names
        self.all = {name: History(folder, name) for name in STORED}
        for name, history in self.all.items():
            history.write(self._rows(name))

    def happen(self) -> None:
        for _ in range(self.data.draw(st.integers(1, 4))):
            name = self.data.draw(st.sampled_from(self.names))
            what = self.data.draw(st.sampled_from(self.kinds))
            event(what)
            getattr(self, f"_{what}")(name, self.all[name])

    def _rows(self, name: str) -> pa.Table:
        return self.data.draw(tables)[name].cast(STORED[name])

    def _few(self, name: str) -> pa.Table:
        # So that most keys stay untouched.
        return self._rows(name).slice(0, 2)

    def _append(self, name: str, history: History) -> None:
        history.write(self._few(name))

    def _upsert(self, name: str, history: History) -> None:
        history.write(self._few(name), WriteMode.UPSERT, ("key", "word"))

    def _overwrite(self, name: str, history: History) -> None:
        there = history.rows()
        kept = there.slice(0, self.data.draw(st.integers(0, 2))) if self.data.draw(st.integers(0, 3)) == 0 else there
        history.write(pa.concat_tables([self._few(name), kept], promote_options="default"), WriteMode.OVERWRITE)

    def _delete(self, _name: str, history: History) -> None:
        history.delete(self.data.draw(st.sampled_from(["key = 1", "word = 'a'", "key > 1", "word IS NULL"])))

    def _compact(self, _name: str, history: History) -> None:
        history.table.compact()

    def _rollback(self, _name: str, history: History) -> None:
        history.table.rollback(self.data.draw(st.integers(0, history.version)))

    def _columns(self, name: str, history: History) -> None:
        present = history.at().schema.names
        if "extra" not in present:
            history.write(pa.table({"key": pa.array([1], STORED[name].field("key").type), "extra": [2]}))
        elif self.data.draw(st.booleans()):
            history.change_columns(dropped=("extra",))
        else:
            history.change_columns({"extra": "other"} if "other" not in present else {"extra": "other", "other": "extra"})


KEYS = st.sampled_from([("key",), ("word",), ("key", "word")])


@settings(max_examples=60, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), columns=KEYS, drawn=tables)
def test_the_rows_of_keys_come_of_rows_of_these_keys(data: DataObject, columns: tuple[str, ...], drawn: dict[str, pa.Table]) -> None:
    """What the judgement of a plan promises, without tables and versions."""
    plan = data.draw(keyed_plans(Keys(columns)))
    inputs = {name: drawn[name].cast(STORED[name]) for name in sorted(_sources(plan))}
    present = sorted({key for rows in inputs.values() for key in _keys(rows, columns)}, key=str)
    some = set(data.draw(st.lists(st.sampled_from(present), max_size=2))) if present else set()
    bound = bind(plan, {name: rows.schema for name, rows in inputs.items()})
    try:
        of_all = results(ENGINE, bound, inputs)
        of_some = results(ENGINE, bound, {name: _of_keys(rows, columns, some) for name, rows in inputs.items()})
    except DomainError as error:
        assume(error.reason != "VALUE_NOT_COMPUTABLE")
        raise

    for name, rows in of_all.items():
        assert rows_of(of_some[name]) == rows_of(_of_keys(rows, columns, some))


def _keys(rows: pa.Table, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in rows.select(list(columns)).to_pylist()]


def _of_keys(rows: pa.Table, columns: Sequence[str], some: set[tuple[Any, ...]]) -> pa.Table:
    return rows.filter(pa.array([key in some for key in _keys(rows, columns)], pa.bool_()))


@settings(max_examples=25, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), columns=KEYS)
def test_with_keys(data: DataObject, columns: tuple[str, ...]) -> None:
    keys = Keys(columns)
    plan = data.draw(keyed_plans(keys))
    with tempfile.TemporaryDirectory() as folder:
        histories = Histories(Path(folder), data)
        pipeline = Pipeline(Path(folder), plan, keys, {name: histories.all[name] for name in sorted(_sources(plan))})
        _check(pipeline, histories)


def _check(pipeline: Pipeline, histories: Histories) -> None:
    try:
        pipeline.run_in_full()
        for _ in range(3):
            histories.happen()
            _run(pipeline)
            for name, rows in pipeline.full().items():
                assert rows_of(pipeline.outputs[name].rows().select(rows.schema.names)) == rows_of(rows)
    except DomainError as error:
        # A value that no step can compute fails a full run, too.
        assume(error.reason != "VALUE_NOT_COMPUTABLE")
        raise


@st.composite
def row_wise_plans(draw: DrawFn) -> Plan:
    """A plan whose output is the latest step that can be computed of new events alone."""
    plan = _Keyed(draw)
    steps = [getattr(random_plans, f"_{name}") for name in ("filter", "project", "join", "as_of", "sampled", "union", "top", "aggregate")]
    for step in draw(st.lists(st.sampled_from(steps), min_size=2, max_size=6)):
        step(plan)
    whole = Plan(tuple(plan.steps), tuple(plan.columns))
    bound = bind(whole, STORED)
    judgements = ((name, judged_by_rows(_part(bound, name), {"events"})) for name in reversed(plan.columns))
    outputs = [name for name, judgement in judgements if not judgement.obstacles]
    return needed_for(whole, outputs[:2])


@settings(max_examples=25, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), plan=row_wise_plans())
def test_without_keys(data: DataObject, plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as folder:
        histories = Histories(Path(folder), data, kinds=("append", "append", "append", "compact", "upsert"), names=("events",))
        pipeline = Pipeline(Path(folder), plan, None, {name: histories.all[name] for name in sorted(_sources(plan))})
        _check(pipeline, histories)


def _sources(plan: Plan) -> set[str]:
    return {step.source for step in plan.steps if isinstance(step, Scan)}


def _run(pipeline: Pipeline) -> None:
    try:
        results = pipeline.run()
    except FullRecomputationNeeded as needed:
        event(f"full: {needed.because[:30]}")
        pipeline.run_in_full()
    else:
        for result in results.values():
            event(result.writing.value)
