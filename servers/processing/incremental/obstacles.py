"""Whether a plan, given only the rows of some keys, gives just the rows of these keys that it would give of all rows.

Rows that come of inputs alone that do not change are fixed. Of all others the rows of a key have to come of rows of that key and of
fixed ones, and some columns carry the key. A step that would mix rows of several keys is an obstacle. Without keys, each new row is taken
for a key of its own, which no column carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import assert_never

from servers.processing.incremental.keys import KnownKeys
from servers.processing.plan.binding import BoundNode, BoundPlan
from servers.processing.plan.expressions import scalar
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.nodes import (
    Aggregate,
    AsOfJoin,
    CrossJoin,
    Deduplicate,
    Filter,
    Join,
    JoinKey,
    JoinKind,
    Project,
    PythonFunction,
    Scan,
    Top,
    Union,
    Window,
    inputs_of,
)
from servers.processing.plan.selects import names_of, types_of
from servers.processing.plan.types import is_whole_number
from servers.runtime.sql_names import quoted


@dataclass(frozen=True)
class Obstacle:
    """What keeps a plan from being incremental.

    Args:
        step: Name of the step as the plan has it.
        problem: Goes on with the sentence "step … ".
    """

    step: str
    problem: str


@dataclass(frozen=True)
class Judgement:
    """What was found about a plan.

    Args:
        obstacles: None, if it can be incremental.
        fixed_outputs: Outputs that come of inputs alone that do not change, so there is nothing to compute.
    """

    obstacles: tuple[Obstacle, ...]
    fixed_outputs: frozenset[str]


@dataclass(frozen=True)
class _Rows:
    """What is known of a step's rows.

    Args:
        carriers: For each key the columns that carry it.
        halves: For each key pairs of columns of a full join, of which the first that is not null carries it.
        is_fixed: Whether they come of inputs alone that do not change.
    """

    carriers: tuple[frozenset[str], ...] = ()
    halves: tuple[frozenset[tuple[str, str]], ...] = ()
    is_fixed: bool = False


def judged_by_keys(plan: BoundPlan, keys: KnownKeys) -> Judgement:
    """Says whether the rows of some keys of all outputs can be computed of the inputs' rows of these keys.

    Args:
        plan: The plan.
        keys: The inputs without keys do not change.
    """
    return _Judge(plan, keys.inputs, keys.columns).judgement()


def judged_by_rows(plan: BoundPlan, growing: Set[str]) -> Judgement:
    """Says whether the new rows of all outputs can be computed of the inputs' new rows.

    Args:
        plan: The plan.
        growing: Inputs that have new rows; the others do not change.
    """
    return _Judge(plan, dict.fromkeys(growing, ()), ()).judgement()


class _Judge:
    def __init__(self, plan: BoundPlan, inputs: Mapping[str, tuple[str, ...]], keys: tuple[str, ...]) -> None:
        self._plan = plan
        self._inputs = inputs
        self._keys = keys
        # None: an obstacle was told of it, or of what it reads.
        self._rows: dict[str, _Rows | None] = {}
        self._obstacles: list[Obstacle] = []

    def judgement(self) -> Judgement:
        for name, bound in self._plan.nodes.items():
            self._rows[name] = self._judged(bound)
        for name in self._plan.outputs:
            self._check_output(name, self._rows[name])
        fixed = (name for name in self._plan.outputs if (rows := self._rows[name]) is not None and rows.is_fixed)
        return Judgement(tuple(dict.fromkeys(self._obstacles)), frozenset(fixed))

    def _judged(self, bound: BoundNode) -> _Rows | None:
        inputs = [self._rows[each] for each in inputs_of(bound.node)]
        known = [rows for rows in inputs if rows is not None]
        if len(known) < len(inputs):
            return None
        if known and all(rows.is_fixed for rows in known):
            return _Rows(is_fixed=True)
        found = self._made(bound, known)
        if isinstance(found, str):
            # A step above the core has nodes whose names begin with its own.
            self._obstacles.append(Obstacle(bound.node.name.partition(".")[0], found))
            return None
        return found

    def _check_output(self, name: str, rows: _Rows | None) -> None:
        if rows is None or rows.is_fixed:
            return
        names = names_of(self._plan.nodes[name].columns)
        for key, carriers in zip(self._keys, rows.carriers, strict=True):
            if names.found(key) not in carriers:
                there = f"it is in {_listed(sorted(carriers))}" if carriers else "it has the key in none of its columns"
                self._obstacles.append(Obstacle(name, f"is an output, and its column {key!r} is not the key unchanged: {there}"))

    def _made(self, bound: BoundNode, inputs: Sequence[_Rows]) -> _Rows | str:
        """What a step makes of rows that are not all fixed, or why that cannot be said."""
        node = bound.node
        match node:
            case Scan():
                return self._scanned(bound, node)
            case Filter():
                return inputs[0]
            case Project():
                return self._projected(bound, node, inputs[0])
            case Join() | AsOfJoin() | CrossJoin():
                return self._joined(bound, node, inputs[0], inputs[1])
            case Aggregate():
                return self._aggregated(bound, inputs[0])
            case Window():
                what = f"the rows of each ({_listed(node.partition_by)})" if node.partition_by else "all rows"
                return self._grouped(bound, inputs[0], node.partition_by, f"computes a window over {what}")
            case Deduplicate():
                return self._grouped(bound, inputs[0], node.keys, f"keeps one row of each ({_listed(node.keys)})")
            case Top():
                is_sort = node.limit is None and not node.offset
                return _renamed(inputs[0], bound.select.kept[0]) if is_sort else "takes the first of all rows"
            case Union():
                return self._united(bound, node, inputs)
            case PythonFunction():
                return self._called(bound, node, inputs[0])
            case _:
                assert_never(node)

    def _scanned(self, bound: BoundNode, node: Scan) -> _Rows | str:
        if node.source not in self._inputs:
            return _Rows(is_fixed=True)
        columns = self._inputs[node.source]
        if missing := [column for column in columns if column not in bound.select.names]:
            return f"reads input {node.source!r} without its key {_listed(missing)}; read that, too, or declare that the input has no key"
        return _Rows(tuple(frozenset((column,)) for column in columns))

    def _projected(self, bound: BoundNode, node: Project, rows: _Rows) -> _Rows:
        """Columns that are given on, under all their names, and those that bring together what a full join left apart."""
        before = names_of(self._plan.nodes[node.input].columns)
        given_on: dict[str, set[str]] = {}
        for old, new in bound.select.kept[0].items():
            given_on.setdefault(old, set()).add(new)
        brought_together: dict[str, set[str]] = {}
        characters = PlanLimits().expression_characters
        for column in node.columns:
            # Limits were looked at when the plan was bound.
            expression = scalar(column.expression, before, max(characters, len(column.expression)))
            if expression.column is not None:
                given_on.setdefault(expression.column, set()).add(column.name)
            brought_together.setdefault(expression.sql, set()).add(column.name)
        carriers = [{new for old in columns for new in given_on.get(old, ())} for columns in rows.carriers]
        for place, pairs in enumerate(rows.halves):
            for one, other in pairs:
                for pair in ((one, other), (other, one)):
                    text = scalar(f"coalesce({quoted(pair[0])}, {quoted(pair[1])})", before, characters).sql
                    carriers[place] |= brought_together.get(text, set())
        halves = tuple(
            frozenset((first, second) for one, other in pairs for first in given_on.get(one, ()) for second in given_on.get(other, ()))
            for pairs in rows.halves
        )
        return _Rows(tuple(map(frozenset, carriers)), halves)

    def _joined(self, bound: BoundNode, node: Join | AsOfJoin | CrossJoin, left: _Rows, right: _Rows) -> _Rows | str:
        kind = JoinKind.INNER if isinstance(node, CrossJoin) else node.kind
        keeps_left = kind not in (JoinKind.RIGHT, JoinKind.FULL)
        keeps_right = kind in (JoinKind.INNER, JoinKind.RIGHT) and not isinstance(node, AsOfJoin)
        if right.is_fixed:
            if keeps_left:
                return _renamed(left, bound.select.kept[0])
            return f"keeps rows of step {node.right!r}, which has no key, that match no row of step {node.left!r}"
        if left.is_fixed:
            if keeps_right:
                return _renamed(right, bound.select.kept[1])
            return f"joins each row of step {node.left!r}, which has no key, with all rows of step {node.right!r}"
        if missing := self._apart(node, left, right):
            return f"joins rows of different keys: the keys of the join do not have {missing}"
        of_left, of_right = (_renamed(side, kept) for side, kept in zip((left, right), bound.select.kept, strict=True))
        if kind is JoinKind.FULL:
            pairs = (
                frozenset((one, other) for one in ones for other in others)
                for ones, others in zip(of_left.carriers, of_right.carriers, strict=True)
            )
            return _Rows(tuple(frozenset() for _ in self._keys), tuple(pairs))
        if kind is JoinKind.INNER and not isinstance(node, AsOfJoin):
            return _Rows(tuple(one | other for one, other in zip(of_left.carriers, of_right.carriers, strict=True)))
        return of_right if kind is JoinKind.RIGHT else of_left

    def _apart(self, node: Join | AsOfJoin | CrossJoin, left: _Rows, right: _Rows) -> str:
        """The keys in which rows that a join brings together may be different; empty if there are none."""
        if not self._keys:
            return "each row's identity: both sides have new rows"
        pairs: tuple[JoinKey, ...] = () if isinstance(node, CrossJoin) else node.keys
        left_names, right_names = (names_of(self._plan.nodes[each].columns) for each in (node.left, node.right))
        joined = {(left_names.column(key.left), right_names.column(key.right)) for key in pairs}
        return _listed(
            [
                key
                for key, ones, others in zip(self._keys, left.carriers, right.carriers, strict=True)
                if not any(one in ones and other in others for one, other in joined)
            ]
        )

    def _aggregated(self, bound: BoundNode, rows: _Rows) -> _Rows | str:
        columns = tuple(bound.select.kept[0])
        if not columns:
            is_fitted = "." in bound.node.name
            return "is fitted on all rows" if is_fitted else "aggregates all rows"
        return self._grouped(bound, rows, columns, f"aggregates the rows of each ({_listed(columns)})")

    def _grouped(self, bound: BoundNode, rows: _Rows, columns: Sequence[str], what: str) -> _Rows | str:
        """Of steps that need all rows with equal values in some columns."""
        names = names_of(self._plan.nodes[inputs_of(bound.node)[0]].columns)
        together = {names.column(column) for column in columns}
        missing = self._missing(rows, together)
        return f"{what}, {missing}" if missing else _renamed(rows, bound.select.kept[0])

    def _missing(self, rows: _Rows, together: Set[str]) -> str:
        """Why rows with equal values in these columns may have different keys; empty if they have one key."""
        if not self._keys:
            return "which new rows change"
        missing = [key for key, carriers in zip(self._keys, rows.carriers, strict=True) if not carriers & together]
        return f"which does not include the key {_listed(missing)}" if missing else ""

    def _united(self, bound: BoundNode, node: Union, inputs: Sequence[_Rows]) -> _Rows | str:
        for name, rows in zip(node.inputs, inputs, strict=True):
            if rows.is_fixed:
                return f"has the rows of step {name!r}, which has no key"
        renamed = [_renamed(rows, kept) for rows, kept in zip(inputs, bound.select.kept, strict=True)]
        carriers = [rows.carriers for rows in renamed]
        together = _Rows(tuple(frozenset.intersection(*each) for each in zip(*carriers, strict=True)))
        if node.is_distinct and (missing := self._missing(together, set(bound.select.names))):
            return f"keeps one of equal rows, {missing}"
        return together

    def _called(self, bound: BoundNode, node: PythonFunction, rows: _Rows) -> _Rows | str:
        if not node.partition_by:
            return "has a Python function that is given rows of all keys; give it the key in partition_by"
        grouped = self._grouped(bound, rows, node.partition_by, f"has a Python function of the rows of each ({_listed(node.partition_by)})")
        if isinstance(grouped, str):
            return grouped
        given, returned = types_of(self._plan.nodes[node.input].columns), types_of(bound.columns)
        # What a function returns is not known; a column of the key's name and type is taken at its word, and looked at when it runs.
        return _Rows(
            tuple(
                frozenset(name for name in carriers if name in returned and _is_same(given[name], returned[name]))
                for carriers in rows.carriers
            )
        )


def _is_same(given: str, returned: str) -> bool:
    return given == returned or (is_whole_number(given) and is_whole_number(returned))


def _renamed(rows: _Rows, kept: Mapping[str, str]) -> _Rows:
    halves = tuple(frozenset((kept[one], kept[other]) for one, other in pairs if one in kept and other in kept) for pairs in rows.halves)
    return _Rows(tuple(frozenset(kept[name] for name in names if name in kept) for names in rows.carriers), halves)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
