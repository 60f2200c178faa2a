"""A plan cut into stages.

A node joins the stage of its input where a partition of that stage has all rows that it needs: for row-wise nodes always, for keys where
the rows are already partitioned by some of them. Otherwise the input becomes a stage of its own, and an exchange brings its rows together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

import pyarrow as pa

from servers.processing.plan.binding import BoundNode, BoundPlan
from servers.processing.plan.nodes import (
    Aggregate,
    AsOfJoin,
    CrossJoin,
    Deduplicate,
    Filter,
    Join,
    JoinKind,
    Project,
    PythonFunction,
    Scan,
    Top,
    Union,
    Window,
    inputs_of,
)
from servers.processing.plan.selects import TypedKey, key_types, names_of, types_of
from servers.processing.stages.compiling import Place, arriving, compiled, leaving
from servers.processing.stages.stage import Exchange, ExchangeKind, HashKey, Stage, StagedPlan, StageInput

KEEP = Exchange(ExchangeKind.KEEP)
SINGLE = Exchange(ExchangeKind.SINGLE)
BROADCAST = Exchange(ExchangeKind.BROADCAST)

IsSmall = Callable[[str], bool]
"""Says of a node, by name, whether its rows are few enough to be given to every partition."""


@dataclass(frozen=True)
class _Spread:
    """How the rows of a node lie: all in one partition, by the hash of keys, or anyhow."""

    is_single: bool = False
    keys: tuple[HashKey, ...] | None = None


@dataclass
class _Piece:
    """A stage that is being put together."""

    nodes: dict[str, BoundNode] = field(default_factory=dict)
    inputs: dict[Place, StageInput] = field(default_factory=dict)
    is_single: bool = False
    is_closed: bool = False
    """Whether nothing can be added: it ends with a Python function, or its rows are wanted by several."""

    @property
    def is_scan(self) -> bool:
        """Whether it only reads an input of the job."""
        return [type(bound.node) for bound in self.nodes.values()] == [Scan]


def cut(plan: BoundPlan, is_small: IsSmall = lambda _: False) -> StagedPlan:
    """Returns the stages of a plan, each after those that it reads.

    Args:
        plan: What to cut.
        is_small: Of which nodes the rows are rather copied to every partition than both sides of a join moved.
    """
    cutter = _Cutter(plan, is_small)
    for name in plan.nodes:
        cutter.add(name)
    for name in plan.outputs:
        cutter.finish(name)
    return StagedPlan(tuple(cutter.stages.values()), plan.outputs)


class _Cutter:
    def __init__(self, plan: BoundPlan, is_small: IsSmall) -> None:
        self._plan = plan
        self._is_small = is_small
        self._readers = Counter(name for bound in plan.nodes.values() for name in inputs_of(bound.node))
        self._readers.update(plan.outputs)
        self._pieces: dict[str, _Piece] = {}
        self._spread: dict[str, _Spread] = {}
        self.stages: dict[str, Stage] = {}

    def add(self, name: str) -> None:
        bound = self._plan.nodes[name]
        inputs = inputs_of(bound.node)
        needs = self._needs(bound)
        alone = bool(inputs) and all(self._spread[each].is_single for each in inputs)
        is_single = alone or any(need.kind is ExchangeKind.SINGLE for need in needs)
        exchanges = [self._exchange(each, need, is_single) for each, need in zip(inputs, needs, strict=True)]
        piece = _Piece(is_single=is_single)
        for place, (each, exchange) in enumerate(zip(inputs, exchanges, strict=True)):
            self._join_piece(piece, (name, place), each, exchange)
        piece.nodes[name] = bound
        if isinstance(bound.node, Scan):
            schema = pa.schema([self._plan.sources[bound.node.source].field(column.name) for column in bound.columns])
            piece.inputs[name, 0] = StageInput(bound.node.source, True, KEEP, schema)
        # Scans are not: reading one again is cheaper than keeping its rows.
        is_shared = self._readers[name] > 1 and not isinstance(bound.node, Scan)
        piece.is_closed = isinstance(bound.node, PythonFunction) or is_shared
        self._pieces[name] = piece
        self._spread[name] = _Spread(True) if is_single else _Spread(keys=self._resulting_keys(bound, exchanges))

    def _join_piece(self, piece: _Piece, place: Place, name: str, exchange: Exchange) -> None:
        """Makes the piece of an input a part of another one, or that other one's input at a place."""
        below = self._pieces[name]
        if below.is_scan:
            # A scan needs no stage to be moved.
            below = _Piece(dict(below.nodes), {(name, 0): replace(below.inputs[name, 0], exchange=exchange)})
            can_join = True
        else:
            # Pieces with one partition and pieces with many cannot become one.
            can_join = exchange.kind is ExchangeKind.KEEP and not below.is_closed and below.is_single == piece.is_single
        if can_join and all(piece.inputs.get(each, given) == given for each, given in below.inputs.items()):
            piece.nodes.update(below.nodes)
            piece.inputs.update(below.inputs)
        else:
            self.finish(name)
            piece.inputs[place] = StageInput(name, False, exchange, self._plan.nodes[name].schema)

    def finish(self, name: str) -> None:
        """Makes a stage of the piece that ends with a node."""
        if name in self.stages:
            return
        piece, bound = self._pieces[name], self._plan.nodes[name]
        relations = {
            place: f"input_{number}" if given.is_scan else arriving(f"input_{number}", self._plan.nodes[given.source].columns)
            for number, (place, given) in enumerate(piece.inputs.items())
        }
        keys = self._spread[name].keys
        self.stages[name] = Stage(
            name=name,
            inputs=tuple(piece.inputs.values()),
            sql=leaving(compiled(tuple(piece.nodes.values()), relations, set(relations.values())), self._plan.select_columns(name)),
            sql_schema=self._plan.select_schema(name),
            function=bound.node if isinstance(bound.node, PythonFunction) else None,
            schema=bound.schema,
            is_single=piece.is_single,
            partitioned_by=None if keys is None else tuple(key.column for key in keys),
            steps=tuple(piece.nodes),
        )

    def _exchange(self, name: str, need: Exchange, is_single: bool) -> Exchange:
        """What it takes that an input meets a need: nothing, or an exchange."""
        spread = self._spread[name]
        is_met = spread.is_single if is_single else need.kind is ExchangeKind.HASH and spread.keys == need.keys
        return KEEP if is_met else need

    def _needs(self, bound: BoundNode) -> tuple[Exchange, ...]:
        node = bound.node
        match node:
            case Scan():
                return ()
            case Filter() | Project():
                return (KEEP,)
            case Aggregate():
                return (self._keyed(node.input, _key_columns(bound)) if node.keys else SINGLE,)
            case Window():
                return (self._keyed(node.input, node.partition_by) if node.partition_by else SINGLE,)
            case Deduplicate():
                return (self._keyed(node.input, node.keys),)
            case PythonFunction():
                return (self._keyed(node.input, node.partition_by) if node.partition_by else KEEP,)
            case Top():
                return (SINGLE,)
            case Union():
                return self._union_needs(bound, node)
            case CrossJoin():
                return self._all_single(node.left, node.right) or (KEEP, BROADCAST)
            case Join() | AsOfJoin():
                return self._all_single(node.left, node.right) or self._join_needs(node)
            case _:
                assert_never(node)

    def _all_single(self, *names: str) -> tuple[Exchange, ...] | None:
        return tuple(KEEP for _ in names) if all(self._spread[name].is_single for name in names) else None

    def _keyed(self, name: str, columns: tuple[str, ...]) -> Exchange:
        """Rows of equal keys together; rows that are partitioned by some of the keys are so already."""
        names, types = names_of(self._plan.nodes[name].columns), types_of(self._plan.nodes[name].columns)
        wanted = tuple(names.column(column) for column in columns)
        present = self._spread[name].keys
        if present and {key.column for key in present} <= set(wanted):
            return Exchange(ExchangeKind.HASH, present)
        return Exchange(ExchangeKind.HASH, tuple(HashKey(column, types[column]) for column in wanted))

    def _union_needs(self, bound: BoundNode, node: Union) -> tuple[Exchange, ...]:
        if not node.is_distinct:
            return tuple(KEEP for _ in node.inputs)
        types = [column.type for column in bound.columns]
        return tuple(
            Exchange(
                ExchangeKind.HASH,
                tuple(HashKey(column.name, each) for column, each in zip(self._plan.nodes[name].columns, types, strict=True)),
            )
            for name in node.inputs
        )

    def _join_needs(self, node: Join | AsOfJoin) -> tuple[Exchange, ...]:
        keeps_left = node.kind in (JoinKind.INNER, JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI)
        keeps_right = node.kind in (JoinKind.INNER, JoinKind.RIGHT)
        if keeps_left and (not node.keys or self._is_small(node.right)):
            return (KEEP, BROADCAST)
        if keeps_right and isinstance(node, Join) and (not node.keys or self._is_small(node.left)):
            return (BROADCAST, KEEP)
        if not node.keys:
            return (SINGLE, SINGLE)
        return self._both_hashed(key_types(node, self._plan.nodes[node.left].columns, self._plan.nodes[node.right].columns), node)

    def _both_hashed(self, keys: tuple[TypedKey, ...], node: Join | AsOfJoin) -> tuple[Exchange, ...]:
        """By all keys, or by those by which one side is partitioned already."""
        for name, side in ((node.left, "left"), (node.right, "right")):
            present = self._spread[name].keys or ()
            found = [next((key for key in keys if HashKey(getattr(key, side), key.type) == each), None) for each in present]
            if found and None not in found:
                keys = tuple(key for key in found if key is not None)
                break
        left = tuple(HashKey(key.left, key.type) for key in keys)
        right = tuple(HashKey(key.right, key.type) for key in keys)
        return (Exchange(ExchangeKind.HASH, left), Exchange(ExchangeKind.HASH, right))

    def _resulting_keys(self, bound: BoundNode, exchanges: list[Exchange]) -> tuple[HashKey, ...] | None:
        """By which columns the rows of a node are partitioned."""
        node = bound.node
        if isinstance(node, Union):
            return tuple(HashKey(column.name, column.type) for column in bound.columns) if node.is_distinct else None
        if isinstance(node, Scan) or (isinstance(node, Join) and node.kind is JoinKind.FULL):
            # Of a full join, rows of the right side alone lie by their own keys, and have none of the left one.
            return None
        # A side that goes to every partition, or may be missing in a row, says nothing about where the row lies.
        place = 1 if exchanges[0].kind is ExchangeKind.BROADCAST or (isinstance(node, Join) and node.kind is JoinKind.RIGHT) else 0
        name, exchange = inputs_of(node)[place], exchanges[place]
        keys = exchange.keys if exchange.kind is ExchangeKind.HASH else self._spread[name].keys
        return _renamed(keys, bound.select.kept[place])


def _renamed(keys: tuple[HashKey, ...] | None, kept: Mapping[str, str]) -> tuple[HashKey, ...] | None:
    if not keys or any(key.column not in kept for key in keys):
        return None
    return tuple(HashKey(kept[key.column], key.type) for key in keys)


def _key_columns(bound: BoundNode) -> tuple[str, ...]:
    """Columns of the input that are an aggregation's keys; before binding, computed keys were made columns."""
    return tuple(bound.select.kept[0])
