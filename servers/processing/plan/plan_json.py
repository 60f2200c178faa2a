"""Plans as JSON.

A plan is `{"steps": [{"type": "FILTER", "name": "late", "input": "flights", "condition": "delay > 15"}, …], "outputs": ["late"]}`: the type
of a step is the name of its class in UPPER_SNAKE, its fields are those of the class, and fields with a default may be left out.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

from servers.processing.plan.errors import InvalidPlan, near, shown
from servers.processing.plan.nodes import Node
from servers.processing.plan.plan import Plan, Step
from servers.processing.plan.steps import CompositeStep

_MOST_CHARACTERS = 16 << 20


def plan_to_json(plan: Plan) -> str:
    """Returns a plan as JSON, without the fields that have their default."""
    return json.dumps({"steps": [_step_to_json(step) for step in plan.steps], "outputs": list(plan.outputs)}, ensure_ascii=False)


def plan_from_json(text: str) -> Plan:
    """Reads a plan. Whether it can be run is for `bind` to say.

    Raises:
        InvalidPlan: INVALID_ARGUMENT: no JSON, or a field that is unknown, missing or of another type; the message has its path.
    """
    if len(text) > _MOST_CHARACTERS:
        raise InvalidPlan(f"the plan has {len(text)} characters; at most {_MOST_CHARACTERS} are allowed")
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidPlan(f"the plan is no JSON: {error}") from None
    fields = _object(value, "the plan", ("steps", "outputs"))
    steps = tuple(_step(each, f"steps[{place}]") for place, each in enumerate(_list(fields.get("steps"), "steps")))
    return Plan(steps, tuple(_text(each, f"outputs[{place}]") for place, each in enumerate(_list(fields.get("outputs"), "outputs"))))


def _step_to_json(step: Step) -> dict[str, Any]:
    return {"type": _type_name(type(step)), **_fields_to_json(step)}


def _fields_to_json(value: Any) -> dict[str, Any]:
    return {
        field.name: _value_to_json(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != field.default
    }


def _value_to_json(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_value_to_json(each) for each in value]
    return _fields_to_json(value) if dataclasses.is_dataclass(value) else value


def _type_name(step_type: type) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", step_type.__name__).upper()


_TYPES: Mapping[str, type] = {_type_name(each): each for each in (*typing.get_args(Node), *typing.get_args(CompositeStep))}


def _step(value: Any, path: str) -> Step:
    fields = _object(value, path, None)
    name = fields.pop("type", None)
    step_type = _TYPES.get(name) if isinstance(name, str) else None
    if step_type is None:
        raise InvalidPlan(f"{path}.type is {shown(str(name))}, which is no step{near(str(name), _TYPES)}")
    step: Step = _dataclass(fields, step_type, path)
    return step


def _dataclass(fields: Mapping[str, Any], wanted: type, path: str) -> Any:
    hints = typing.get_type_hints(wanted)
    known = {field.name: field for field in dataclasses.fields(wanted)}
    for name in fields:
        if name not in known:
            raise InvalidPlan(f"{path} has the field {shown(name)}, which is unknown{near(name, known)}")
    for name, field in known.items():
        if name not in fields and field.default is dataclasses.MISSING:
            raise InvalidPlan(f"{path}.{name} is missing")
    return wanted(**{name: _value(value, hints[name], f"{path}.{name}") for name, value in fields.items()})


def _value(value: Any, wanted: Any, path: str) -> Any:
    if typing.get_origin(wanted) is tuple:
        item = typing.get_args(wanted)[0]
        return tuple(_value(each, item, f"{path}[{place}]") for place, each in enumerate(_list(value, path)))
    if isinstance(wanted, types.UnionType):
        return None if value is None else _value(value, typing.get_args(wanted)[0], path)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        names = [each.value for each in wanted]
        if value not in names:
            raise InvalidPlan(f"{path} is {shown(str(value))}; it has to be one of {', '.join(names)}")
        return wanted(value)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return _dataclass(_object(value, path, None), wanted, path)
    return _SCALARS[wanted](value, path)


def _object(value: Any, path: str, names: tuple[str, ...] | None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidPlan(f"{path} has to be an object")
    for name in value if names is not None else ():
        if name not in (names or ()):
            raise InvalidPlan(f"{path} has the field {shown(name)}, which is unknown{near(name, names or ())}")
    return dict(value)


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidPlan(f"{path} has to be a list")
    return value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidPlan(f"{path} has to be a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidPlan(f"{path} has half of a surrogate pair, which is no character") from None
    return value


def _boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidPlan(f"{path} has to be true or false")
    return value


def _integer(value: Any, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise InvalidPlan(f"{path} has to be a whole number of 64 bits")
    return value


def _number(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidPlan(f"{path} has to be a number")
    return float(value)


_SCALARS: Mapping[Any, Any] = {str: _text, bool: _boolean, int: _integer, float: _number}


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
