"""The plan that computes the rows of touched keys, and what the output becomes with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from servers.processing.incremental.changed_rows import touched_key
from servers.processing.incremental.keys import KnownKeys
from servers.processing.plan.binding import BoundPlan
from servers.processing.plan.nodes import Aggregate, Column, Filter, Join, JoinKind, Project, Scan, Union
from servers.processing.plan.plan import Plan, Step, step_inputs
from servers.processing.plan.selects import Columns, names_of, types_of
from servers.runtime.sql_names import folded, quoted

_NAME_CHARACTERS = 40
"""Of a step's name that are left, so that something fits behind."""


@dataclass(frozen=True)
class OutputSteps:
    """Names of what says what becomes of an output.

    Args:
        sources: Each has some columns of the output as it is, and is read once.
        new_facts: Step with one row: `rows`, the `most` of one key, and those `with_null` in a key.
        old_facts: The same of the rows that are replaced.
        strays: Step with one row, `rows`: new ones of keys that are not touched.
        vanished: Step with the touched keys that the output has, and will have no more.
        content: Step with all rows that it is to have.
        unlike: Step with one row, `rows`: those of which a value cannot have the type that the plan gives; empty where types are the same.
    """

    sources: Mapping[str, tuple[str, ...]]
    new_facts: str
    old_facts: str
    strays: str
    vanished: str
    content: str
    unlike: str

    @property
    def steps(self) -> tuple[str, ...]:
        """Those that are read."""
        steps = (self.new_facts, self.old_facts, self.strays, self.vanished, self.content, self.unlike)
        return tuple(step for step in steps if step)


@dataclass(frozen=True)
class IncrementalPlan:
    """A plan for the rows of touched keys.

    Args:
        plan: The steps of the plan under their names, and others.
        touched: Sources: each is the touched keys, to be given as a stream. DuckDB takes a stream for one row, and holds the smaller side
            of a join, of equal ones the right one: a table of keys would be taken for the larger side, and an input be held.
        outputs: What else it computes of each output.
    """

    plan: Plan
    touched: tuple[str, ...]
    outputs: Mapping[str, OutputSteps]


def needed_for(plan: Plan, outputs: Sequence[str]) -> Plan:
    """Returns the part of a plan that some outputs need."""
    steps = {step.name: step for step in plan.steps}
    found: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += step_inputs(steps[name])
    return Plan(tuple(step for step in plan.steps if step.name in found), tuple(outputs))


def incremental_plan(plan: Plan, bound: BoundPlan, keys: KnownKeys, old_columns: Mapping[str, Columns]) -> IncrementalPlan:
    """Returns the same plan, whose scans of inputs with keys give touched rows only, with steps that bring old and new rows together.

    Args:
        plan: As it was written.
        bound: The same, bound.
        keys: Its keys.
        old_columns: Columns of each output as it is, with DuckDB's types; their names are those that the plan gives, in any order.
    """
    fresh = Fresh((*(step.name for step in plan.steps), *bound.sources))
    touched = _TouchedKeys(keys, fresh)
    steps: list[Step] = []
    for step in plan.steps:
        if isinstance(step, Scan) and step.source in keys.inputs:
            whole = fresh.name(f"{step.name[:_NAME_CHARACTERS]}_whole")
            types = types_of(bound.nodes[step.name].columns)
            steps += [replace(step, name=whole), *touched.of(step.name, whole, types, keys.inputs[step.source])]
        else:
            steps.append(step)
    outputs: dict[str, OutputSteps] = {}
    for name in plan.outputs:
        writer = _OutputWriter(name, bound.nodes[name].columns, old_columns[name], keys.columns, touched, fresh)
        outputs[name] = writer.write()
        steps += writer.steps
    wanted = (step for each in outputs.values() for step in each.steps)
    return IncrementalPlan(Plan(tuple(steps), (*plan.outputs, *wanted)), tuple(touched.sources), outputs)


class Fresh:
    """Names that nothing has.

    Args:
        taken: Names of what there is.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(map(folded, taken))

    def name(self, wish: str) -> str:
        """Returns a name, with a number behind where something has it already."""
        name, number = wish, 1
        while folded(name) in self._taken:
            number += 1
            name = f"{wish}_{number}"
        self._taken.add(folded(name))
        return name


class _TouchedKeys:
    """Writes steps with the rows whose key is touched."""

    def __init__(self, keys: KnownKeys, fresh: Fresh) -> None:
        self._keys = keys
        self._fresh = fresh
        self.sources: list[str] = []

    def of(
        self, name: str, rows: str, types: Mapping[str, str], key_columns: Sequence[str], kind: JoinKind = JoinKind.SEMI
    ) -> tuple[Step, ...]:
        """Steps of which the last one has the rows whose key is touched, or (ANTI) is not.

        Args:
            name: Of the last step.
            rows: Of which step.
            types: Of its columns.
            key_columns: Those that carry the keys.
            kind: SEMI or ANTI.
        """
        source = self._fresh.name("touched")
        self.sources.append(source)
        taken = set(map(folded, types))
        conditions = []
        for place, (column, type_name) in enumerate(zip(key_columns, self._keys.types, strict=True)):
            # The right side's columns get a suffix where the left side has their names.
            other = touched_key(place) if touched_key(place) not in taken else f"{touched_key(place)}_right"
            conditions.append(f"{_as(quoted(column), types[column], type_name)} IS NOT DISTINCT FROM {quoted(other)}")
        # Keys of a join would be equal for no null.
        return (Scan(source, source), Join(name, rows, source, (), kind, " AND ".join(conditions)))


class _OutputWriter:
    """Writes the steps of one output."""

    def __init__(self, name: str, columns: Columns, old_columns: Columns, keys: Sequence[str], touched: _TouchedKeys, fresh: Fresh) -> None:
        self._name = name
        self._key_columns = tuple(map(names_of(columns).column, keys))
        self._touched = touched
        self._fresh = fresh
        self._types = types_of(columns)
        self._stored = types_of(old_columns)
        self._sources: dict[str, tuple[str, ...]] = {}
        self.steps: list[Step] = []

    def write(self) -> OutputSteps:
        kept = self._touched_of(self._old(tuple(self._types)), "kept", JoinKind.ANTI)
        content = self._add(Union(self._step("content"), (kept, self._name)))
        replaced = self._touched_of(self._old(self._key_columns), "replaced", JoinKind.SEMI)
        new_keys, old_keys = self._counted(self._name, "new"), self._counted(replaced, "replaced")
        places = range(len(self._key_columns))
        same = " AND ".join(f"{_key(place)} IS NOT DISTINCT FROM {_key(place)}_right" for place in places)
        gone = self._add(Join(self._step("gone"), old_keys, new_keys, (), JoinKind.ANTI, same))
        named = tuple(Column(column, _key(place)) for place, column in enumerate(self._key_columns))
        return OutputSteps(
            new_facts=self._facts(new_keys, "new"),
            old_facts=self._facts(old_keys, "replaced"),
            strays=self._strays(new_keys),
            vanished=self._add(Project(self._step("vanished"), gone, named)),
            content=content,
            unlike=self._unlike(),
            sources=self._sources,
        )

    def _old(self, columns: Sequence[str]) -> str:
        """Some columns of the output as it is, in the types that the plan gives."""
        typed = tuple(Column(column, _as(quoted(column), self._stored[column], self._types[column])) for column in columns)
        return self._add(Project(self._step("typed"), self._scan(tuple(columns)), typed))

    def _touched_of(self, rows: str, what: str, kind: JoinKind) -> str:
        return self._touched_rows(rows, what, self._types, self._key_columns, kind)

    def _touched_rows(self, rows: str, what: str, types: Mapping[str, str], key_columns: Sequence[str], kind: JoinKind) -> str:
        self.steps += self._touched.of(self._step(what), rows, types, key_columns, kind)
        return self.steps[-1].name

    def _counted(self, rows: str, what: str) -> str:
        """The keys of some rows, and how many of them each has."""
        keys = tuple(Column(_key(place), quoted(column)) for place, column in enumerate(self._key_columns))
        return self._add(Aggregate(self._step(f"{what}_keys"), rows, keys, (Column("rows", "count(*)"),)))

    def _facts(self, counted: str, what: str) -> str:
        has_null = " OR ".join(f"{_key(place)} IS NULL" for place in range(len(self._key_columns)))
        facts = (Column("rows", "sum(rows)"), Column("most", "max(rows)"), Column("with_null", f"sum(rows) FILTER (WHERE {has_null})"))
        return self._add(Aggregate(self._step(f"{what}_facts"), counted, (), facts))

    def _strays(self, new_keys: str) -> str:
        types = {_key(place): self._types[column] for place, column in enumerate(self._key_columns)}
        strays = self._touched_rows(new_keys, "stray_keys", types, tuple(types), JoinKind.ANTI)
        return self._add(Aggregate(self._step("strays"), strays, (), (Column("rows", "sum(rows)"),)))

    def _unlike(self) -> str:
        there_and_back = [
            f"TRY_CAST(TRY_CAST({quoted(column)} AS {self._types[column]}) AS {stored}) IS DISTINCT FROM {quoted(column)}"
            for column, stored in self._stored.items()
            if stored != self._types[column]
        ]
        if not there_and_back:
            return ""
        found = self._add(Filter(self._step("others"), self._scan(tuple(self._stored)), " OR ".join(there_and_back)))
        return self._add(Aggregate(self._step("unlike"), found, (), (Column("rows", "count(*)"),)))

    def _scan(self, columns: tuple[str, ...]) -> str:
        source = self._step("old")
        self._sources[source] = columns
        return self._add(Scan(source, source))

    def _step(self, what: str) -> str:
        return self._fresh.name(f"{self._name[:_NAME_CHARACTERS]}_{what}")

    def _add(self, step: Step) -> str:
        self.steps.append(step)
        return step.name


def _as(expression: str, type_name: str, wanted: str) -> str:
    return expression if type_name == wanted else f"CAST({expression} AS {wanted})"


def _key(place: int) -> str:
    return f"key_{place}"
