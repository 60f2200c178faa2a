"""An incremental run: from versions of inputs and outputs to what is to be written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from servers.processing.engines.engine import Engine
from servers.processing.incremental.changed_rows import ComparedInput, TouchedRows, came, touched_rows
from servers.processing.incremental.errors import KeysNotKept, NotIncremental
from servers.processing.incremental.incremental_plan import Fresh, OutputSteps, incremental_plan, needed_for
from servers.processing.incremental.keys import Keys, KnownKeys, known_keys
from servers.processing.incremental.obstacles import judged_by_keys, judged_by_rows
from servers.processing.incremental.pruning import files_with
from servers.processing.incremental.results import IncrementalResult, Writing
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.sql_kernel import Relation
from servers.processing.plan.binding import BoundPlan, bind
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.nodes import Column, Project, Scan
from servers.processing.plan.plan import Plan, Step
from servers.processing.plan.selects import Columns
from servers.processing.plan.types import is_whole_number
from servers.runtime.sql_names import folded, quoted
from servers.runtime.tables.changes import Changes, changes
from servers.runtime.tables.dataset import Dataset, open_dataset
from servers.runtime.tables.errors import FullRecomputationNeeded
from servers.runtime.tables.storage import TableStorage

MOST_TOUCHED_KEYS = 10_000_000
"""Of which an incremental run holds the keys in memory; beyond it, all is computed anew."""

_OWN_STEPS = 40
"""Most steps that are added for an input or an output."""
_UPSERTED_TYPES = ("VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


@dataclass(frozen=True)
class InputVersions:
    """An input, as it was processed and as it is to be processed.

    Args:
        uri: Of the dataset's table.
        old_version: Of which the outputs were made.
        new_version: Of which they are to be made.
        table_id: `Dataset.table_id` of what was processed, if it was kept: tells a dataset that was deleted and made anew.
    """

    uri: str
    old_version: int
    new_version: int
    table_id: str = ""


@dataclass(frozen=True)
class OutputVersion:
    """An output as it is, which has to be as the last run left it.

    Args:
        uri: Of the dataset's table.
        version: That the last run wrote, or a later one with the same rows.
    """

    uri: str
    version: int


def check_incremental(plan: BoundPlan, keys: Keys) -> None:
    """Checks that a plan can be incremental with keys, whatever the rows: when a pipeline is declared.

    Args:
        plan: Bound to its inputs.
        keys: Of the pipeline.

    Raises:
        NotIncremental: INVALID_ARGUMENT: steps mix rows of several keys; it says which, and why.
        InvalidPlan: INVALID_ARGUMENT: the keys are not there, or of different types.
    """
    if obstacles := judged_by_keys(plan, known_keys(keys, plan)).obstacles:
        raise NotIncremental(keys.columns, obstacles)


def check_appending(plan: BoundPlan) -> None:
    """Checks that a plan can be incremental without keys, as long as inputs only grow, and one at a time where it joins them.

    Args:
        plan: Bound to its inputs.

    Raises:
        NotIncremental: INVALID_ARGUMENT: with no input growing alone it can be; it says what is in the way of the first.
    """
    found = [judged_by_rows(plan, {source}).obstacles for source in plan.sources]
    if all(found):
        raise NotIncremental((), found[0])


@contextmanager
def incremental_results(
    plan: Plan,
    keys: Keys | None,
    inputs: Mapping[str, InputVersions],
    outputs: Mapping[str, OutputVersion],
    storage: TableStorage,
    engine: Engine,
    cancellation: Cancellation,
    *,
    most_touched_keys: int = MOST_TOUCHED_KEYS,
    limits: PlanLimits | None = None,
    on_touched: Callable[[TouchedRows], object] = lambda _touched: None,
) -> Iterator[Mapping[str, IncrementalResult]]:
    """Computes what the outputs of a plan become after its inputs changed. What is written then is, as a multiset, what a full run gives.

    Args:
        plan: The same as in the run before.
        keys: Of the pipeline; None where inputs only get rows, and each is processed alone.
        inputs: By the names that the plan reads.
        outputs: By the plan's outputs; not looked at without keys.
        storage: Of the S3 that tables are in.
        engine: Computes.
        cancellation: Stops it.
        most_touched_keys: Keys that are held in memory.
        limits: Of the plan.
        on_touched: Told what really changed, before anything is computed.

    Returns:
        A context in which each output's result can be read once.

    Raises:
        FullRecomputationNeeded: FAILED_PRECONDITION: this once all has to be computed; it says why.
        NotIncremental: INVALID_ARGUMENT: the plan mixes rows of several keys, or new rows with others.
        KeysNotKept: FAILED_PRECONDITION: a Python function changes keys.
        DomainError: As from a full run.
    """
    limits = limits or PlanLimits()
    found = {name: changes(each.uri, each.old_version, each.new_version, storage, table_id=each.table_id) for name, each in inputs.items()}
    bound = bind(plan, {name: each.new.schema for name, each in found.items()}, limits)
    compared = {name: ComparedInput(found[name], _read_schema(name, bound, found[name])) for name in bound.sources}
    changed = {name: each for name, each in compared.items() if not each.changes.is_nothing}
    run = _Run(
        plan, bound, compared, engine, cancellation, replace(limits, steps=limits.steps + _OWN_STEPS * (len(inputs) + len(plan.outputs)))
    )
    known = None if keys is None else known_keys(keys, bound)
    if known is not None and (obstacles := judged_by_keys(bound, known).obstacles):
        raise NotIncremental(known.columns, obstacles)
    touched = touched_rows(changed, known, engine, cancellation, most_touched_keys)
    on_touched(touched)
    if known is None:
        results = run.by_rows(touched)
    else:
        _check_fixed(touched, known)
        results = run.by_keys(touched, known, outputs, storage)
    with results as made:
        yield {name: made.get(name) or _nothing(bound, name) for name in plan.outputs}


class _Run:
    """A run, when it is known what changed."""

    def __init__(
        self,
        plan: Plan,
        bound: BoundPlan,
        inputs: Mapping[str, ComparedInput],
        engine: Engine,
        cancellation: Cancellation,
        limits: PlanLimits,
    ) -> None:
        self._plan = plan
        self._bound = bound
        self._inputs = inputs
        self._engine = engine
        self._cancellation = cancellation
        self._limits = limits

    @contextmanager
    def by_rows(self, touched: TouchedRows) -> Iterator[dict[str, IncrementalResult]]:
        """Appends what new rows give."""
        for name, count in touched.removed.items():
            if count:
                raise FullRecomputationNeeded(f"{count} rows went from input {name!r}, and the pipeline has no keys")
        growing = {name for name, count in touched.added.items() if count}
        judgement = judged_by_rows(self._bound, growing)
        if judgement.obstacles:
            raise NotIncremental((), judgement.obstacles)
        wanted = [name for name in self._plan.outputs if name not in judgement.fixed_outputs]
        if not wanted:
            yield {}
            return
        plan = needed_for(self._plan, wanted)
        fresh = Fresh((*(step.name for step in plan.steps), *self._inputs))
        relations: dict[str, Relation] = {}
        rewritten: dict[str, str] = {}
        steps: list[Step] = []
        for name in sorted({step.source for step in plan.steps if isinstance(step, Scan)}):
            given = self._inputs[name]
            if name in growing and given.changes.removed:
                rewritten[name] = fresh.name("came")
                made, read = came(rewritten[name], given)
                steps += made
                relations |= read
            elif name in growing:
                relations[name] = given.changes.reader(given.changes.added, given.schema)
            else:
                relations[name] = given.changes.new.reader(given.schema.names)
        steps += (_read_from(step, rewritten, self._bound) for step in plan.steps)
        with self._run(Plan(tuple(steps), plan.outputs), relations) as outputs:
            nothing = {name: _nothing(self._bound, name) for name in wanted}
            yield {name: replace(each, writing=Writing.APPEND, rows=outputs[name], computed_rows=None) for name, each in nothing.items()}

    @contextmanager
    def by_keys(
        self, touched: TouchedRows, keys: KnownKeys, outputs: Mapping[str, OutputVersion], storage: TableStorage
    ) -> Iterator[dict[str, IncrementalResult]]:
        """Replaces the rows of touched keys."""
        fixed = judged_by_keys(self._bound, keys).fixed_outputs
        wanted = [name for name in self._plan.outputs if name not in fixed]
        if not touched.keys.num_rows or not wanted:
            yield {}
            return
        old = {name: open_dataset(outputs[name].uri, outputs[name].version, storage) for name in wanted}
        plan = needed_for(self._plan, wanted)
        made = incremental_plan(plan, self._bound, keys, {name: _columns_of(name, each, self._bound) for name, each in old.items()})
        sources = {step.source for step in plan.steps if isinstance(step, Scan)}
        relations: dict[str, Relation] = {source: touched.keys.to_reader() for source in made.touched}
        for name in sources:
            dataset, columns = self._inputs[name].changes.new, self._inputs[name].schema.names
            files = files_with(dataset, keys.inputs[name], touched.keys) if name in keys.inputs else None
            relations[name] = dataset.reader(columns, files)
        for name, steps in made.outputs.items():
            relations |= {source: old[name].reader(columns) for source, columns in steps.sources.items()}
        with self._run(made.plan, relations) as readers:
            yield {name: self._chosen(name, keys, steps, readers) for name, steps in made.outputs.items()}

    def _chosen(self, name: str, keys: KnownKeys, steps: OutputSteps, readers: Mapping[str, pa.RecordBatchReader]) -> IncrementalResult:
        new, old = _row(readers[steps.new_facts]), _row(readers[steps.old_facts])
        if strays := _row(readers[steps.strays])["rows"]:
            raise KeysNotKept(name, strays)
        vanished = readers[steps.vanished].read_all()
        types = {column.name: column.type for column in self._bound.nodes[name].columns}
        key_columns = tuple(column for key in keys.columns for column in types if folded(column) == folded(key))
        is_unique = max(new["most"], old["most"]) <= 1 and not new["with_null"] + old["with_null"] + vanished.num_rows
        if not new["rows"] and not old["rows"]:
            return _nothing(self._bound, name)
        if is_unique and all(map(_is_upserted, map(types.__getitem__, key_columns))):
            return IncrementalResult(Writing.UPSERT, key_columns, readers[name], new["rows"], old["rows"], vanished)
        if steps.unlike and (unlike := _row(readers[steps.unlike])["rows"]):
            raise FullRecomputationNeeded(
                f"{unlike} rows of output {name!r} have values that do not have the type which the plan gives now"
            )
        return IncrementalResult(Writing.OVERWRITE, (), readers[steps.content], new["rows"], old["rows"], vanished)

    @contextmanager
    def _run(self, plan: Plan, relations: Mapping[str, Relation]) -> Iterator[Mapping[str, pa.RecordBatchReader]]:
        bound = bind(plan, {name: relation.schema for name, relation in relations.items()}, self._limits)
        with self._engine.run(bound, relations, self._cancellation) as outputs:
            yield outputs


def _read_from(step: Step, rewritten: Mapping[str, str], bound: BoundPlan) -> Step:
    """A scan of what is computed by a step instead."""
    if not isinstance(step, Scan) or step.source not in rewritten:
        return step
    columns = bound.nodes[step.name].columns
    return Project(step.name, rewritten[step.source], tuple(Column(each.name, quoted(each.name)) for each in columns))


def _columns_of(name: str, old: Dataset, bound: BoundPlan) -> Columns:
    """The columns of an output as it is, of which others than those that the plan gives are null, as an OVERWRITE leaves them."""
    wanted = bound.schema(name).names
    if not set(wanted) <= set(old.schema.names):
        there, given = (", ".join(map(repr, names[:20])) for names in (old.schema.names, wanted))
        raise FullRecomputationNeeded(f"output {name!r} has the columns {there}, and the plan gives {given}")
    schema = pa.schema([old.schema.field(column) for column in wanted])
    return bind(Plan((Scan("old", "old"),), ("old",)), {"old": schema}, PlanLimits(columns=len(wanted))).nodes["old"].columns


def _row(reader: pa.RecordBatchReader) -> dict[str, int]:
    (row,) = reader.read_all().to_pylist()
    return {name: int(value or 0) for name, value in row.items()}


def _is_upserted(type_name: str) -> bool:
    """Whether ingestion tells rows apart by such values."""
    return is_whole_number(type_name) or type_name in _UPSERTED_TYPES or type_name.startswith("DECIMAL")


def _read_schema(name: str, bound: BoundPlan, found: Changes) -> pa.Schema:
    """The columns of an input that a plan reads, which have to be as they were."""
    scans = [each for each in bound.nodes.values() if isinstance(each.node, Scan) and each.node.source == name]
    read = {column.name for scan in scans for column in scan.columns}
    old, new = (pa.schema([field for field in each.schema if field.name in read]) for each in (found.old, found.new))
    if any(isinstance(scan.node, Scan) and not scan.node.columns for scan in scans):
        # Whoever reads all columns also reads those that were dropped, and their order breaks ties.
        old, new = found.old.schema, found.new.schema
    if old != new:
        was, now = ({field.name: str(field.type) for field in each} for each in (old, new))
        different = [
            f"{column!r} is {now.get(column, 'gone')} and was {was.get(column, 'not there')}"
            for column in {**was, **now}
            if was.get(column) != now.get(column)
        ]
        what = ", ".join(different[:10]) or "their order is another one"
        raise FullRecomputationNeeded(f"the columns that are read of input {name!r} changed: {what}")
    return new


def _check_fixed(touched: TouchedRows, keys: KnownKeys) -> None:
    for name in touched.added:
        if name not in keys.inputs and (touched.added[name] or touched.removed[name]):
            raise FullRecomputationNeeded(
                f"input {name!r}, which has no columns with the keys, changed: "
                f"{touched.added[name]} rows came and {touched.removed[name]} went"
            )


def _nothing(bound: BoundPlan, name: str) -> IncrementalResult:
    schema = bound.schema(name)
    rows = pa.RecordBatchReader.from_batches(schema, iter(()))
    return IncrementalResult(Writing.NOTHING, (), rows, 0, 0, pa.table({}))
