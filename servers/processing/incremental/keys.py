"""The keys of a pipeline: which columns say what belongs together, in its outputs and in its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from servers.processing.plan.binding import BoundPlan
from servers.processing.plan.errors import InvalidPlan, TypeMismatch, UnknownColumn, UnknownInput, near, shown
from servers.processing.plan.expressions import Names
from servers.processing.plan.nodes import Scan
from servers.processing.plan.selects import types_of
from servers.processing.plan.types import TRAVELLING, common_type, is_whole_number


@dataclass(frozen=True)
class Keys:
    """What a pipeline declares.

    Args:
        columns: Of its outputs. Rows with equal values in all of them are computed anew, and replaced, together. Null is a value.
        inputs: For each input the columns with the same values, in the same order. None of them, `()`, for an input of which any change
            means that all is computed anew. By default the columns of the same names, and none where one is missing.
    """

    columns: tuple[str, ...]
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownKeys:
    """Keys as a plan has them.

    Args:
        columns: Of the outputs.
        types: In which values are compared.
        inputs: Columns of the inputs that carry the keys; other inputs carry none.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    inputs: Mapping[str, tuple[str, ...]]


def known_keys(keys: Keys, plan: BoundPlan) -> KnownKeys:
    """Finds the keys in the inputs of a plan.

    Raises:
        UnknownInput: INVALID_ARGUMENT: an input is named that the plan does not read.
        UnknownColumn: INVALID_ARGUMENT: an input has no such column.
        InvalidPlan: INVALID_ARGUMENT: there are no keys, one is named twice, an input has another number of them, or none has them.
        TypeMismatch: INVALID_ARGUMENT: they are of different types.
    """
    if not keys.columns or len(set(keys.columns)) < len(keys.columns):
        raise InvalidPlan("keys are at least one column, each named once")
    for source in keys.inputs:
        if source not in plan.sources:
            raise UnknownInput(f"the keys name the input {shown(source)}, which the plan does not read{near(source, plan.sources)}")
    read = _read_columns(plan)
    inputs = {source: _columns(keys, source, read[source]) for source in plan.sources}
    carrying = {source: columns for source, columns in inputs.items() if columns}
    if not carrying:
        raise InvalidPlan(f"no input has the keys {', '.join(map(shown, keys.columns))}; say which columns of the inputs have their values")
    return KnownKeys(keys.columns, _types(carrying, read), carrying)


def _read_columns(plan: BoundPlan) -> dict[str, dict[str, str]]:
    """The columns of each input that a plan reads, and their types."""
    found: dict[str, dict[str, str]] = {source: {} for source in plan.sources}
    for bound in plan.nodes.values():
        if isinstance(bound.node, Scan):
            found[bound.node.source] |= types_of(bound.columns)
    return found


def _columns(keys: Keys, source: str, read: Mapping[str, str]) -> tuple[str, ...]:
    names = Names.of(read)
    if source not in keys.inputs:
        found = tuple(name for name in map(names.found, keys.columns) if name is not None)
        return found if len(found) == len(keys.columns) else ()
    given = keys.inputs[source]
    if given and len(given) != len(keys.columns):
        raise InvalidPlan(
            f"the input {shown(source)} has {len(given)} columns for {len(keys.columns)} keys; name one for each, or none at all"
        )
    for name in given:
        if names.found(name) is None:
            raise UnknownColumn(f"the plan reads no column {shown(name)} of the input {shown(source)}{near(name, names.names)}")
    return tuple(names.column(name) for name in given)


def _types(carrying: Mapping[str, tuple[str, ...]], read: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    first = next(iter(carrying))
    found: list[str] = []
    for place, column in enumerate(carrying[first]):
        type_name = read[first][column]
        for source, columns in carrying.items():
            other = read[source][columns[place]]
            # Only such values are equal in one type where they are equal in another, whichever types steps compare them in.
            if other != type_name and not (is_whole_number(other) and is_whole_number(type_name)):
                raise TypeMismatch(
                    f"the key {shown(column)} is {type_name} in input {shown(first)} and {other} in input {shown(source)}; "
                    "keys have the same type everywhere, or are whole numbers"
                )
            type_name = common_type(type_name, other)
        found.append(TRAVELLING.get(type_name, type_name))
    return tuple(found)
