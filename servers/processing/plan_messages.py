"""Plans as the contract has them.

Messages and dataclasses have the same names of fields, so one walk over the fields of the dataclasses is the whole conversion. What a
message leaves out has the default of the dataclass.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from enum import Enum
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from mlops.processing.v1 import plan_pb2 as pb

from servers.processing.plan.nodes import Node
from servers.processing.plan.plan import Plan, Step
from servers.processing.plan.steps import CompositeStep

_STEP_TYPES: dict[str, type] = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", each.__name__).lower(): each for each in (*typing.get_args(Node), *typing.get_args(CompositeStep))
}
"""Classes of steps by the field of `Step` that has them."""

_KINDS = {kind: field for field, kind in _STEP_TYPES.items()}


def plan_from_proto(plan: pb.Plan) -> Plan:
    """Reads a plan. Whether it can be run is for `bind` to say."""
    return Plan(tuple(map(_step_from_proto, plan.steps)), tuple(plan.outputs))


def plan_to_proto(plan: Plan) -> pb.Plan:
    """Gives a plan as the contract has it, with all fields, also those that have their default."""
    return pb.Plan(steps=map(_step_to_proto, plan.steps), outputs=plan.outputs)


def has_python_function(plan: pb.Plan) -> bool:
    """Whether a step runs Python."""
    return any(step.HasField("python_function") for step in plan.steps)


def _step_from_proto(step: pb.Step) -> Step:
    kind = step.WhichOneof("kind") or ""
    read: Step = _read(getattr(step, kind), _STEP_TYPES[kind], {"name": step.name})
    return read


def _step_to_proto(step: Step) -> pb.Step:
    message = pb.Step(name=step.name)
    kind: Message = getattr(message, _KINDS[type(step)])
    kind.SetInParent()
    _fill(kind, step)
    return message


def _read(message: Any, wanted: type, known: dict[str, Any]) -> Any:
    values = dict(known)
    for field in dataclasses.fields(wanted):
        if field.name in known:
            continue
        described: FieldDescriptor = message.DESCRIPTOR.fields_by_name[field.name]
        has_default = field.default is not dataclasses.MISSING
        if described.has_presence and not message.HasField(field.name):
            continue
        given = getattr(message, field.name)
        if described.is_repeated:
            item = typing.get_args(_hints(wanted)[field.name])[0]
            values[field.name] = tuple(_read(each, item, {}) if isinstance(each, Message) else each for each in given)
        elif described.enum_type is not None:
            if given or not has_default:
                values[field.name] = _hints(wanted)[field.name](_enum_name(described, given))
        elif given or not has_default or described.has_presence:
            values[field.name] = given
    return wanted(**values)


def _fill(message: Any, value: Any) -> None:
    for field in dataclasses.fields(value):
        described: FieldDescriptor | None = message.DESCRIPTOR.fields_by_name.get(field.name)
        given = getattr(value, field.name)
        if described is None or given is None:
            continue
        if described.is_repeated:
            for each in given:
                if dataclasses.is_dataclass(each):
                    _fill(getattr(message, field.name).add(), each)
                else:
                    getattr(message, field.name).append(each)
        elif isinstance(given, Enum):
            setattr(message, field.name, _prefix(described) + given.value)
        else:
            setattr(message, field.name, given)


def _enum_name(field: FieldDescriptor, number: int) -> str:
    return _value_name(field, number).removeprefix(_prefix(field))


def _prefix(field: FieldDescriptor) -> str:
    return _value_name(field, 0).removesuffix("UNSPECIFIED")


def _value_name(field: FieldDescriptor, number: int) -> str:
    values: Any = field.enum_type
    name: str = values.values_by_number[number].name
    return name


@cache
def _hints(wanted: type) -> dict[str, Any]:
    # Of `float | None` the type that is no None: presence says the rest.
    hints = typing.get_type_hints(wanted)
    return {name: typing.get_args(hint)[0] if isinstance(hint, types.UnionType) else hint for name, hint in hints.items()}
