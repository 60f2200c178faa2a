"""Messages of any type with anything in them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import mlops
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_DEEPEST = 3
_INTEGERS = {
    **dict.fromkeys(("int32", "sint32", "sfixed32"), (-(2**31), 2**31 - 1)),
    **dict.fromkeys(("int64", "sint64", "sfixed64"), (-(2**63), 2**63 - 1)),
    **dict.fromkeys(("uint32", "fixed32"), (0, 2**32 - 1)),
    **dict.fromkeys(("uint64", "fixed64"), (0, 2**64 - 1)),
}


def load_contracts() -> None:
    """Imports every generated module, so that the default pool knows every message."""
    for module in pkgutil.walk_packages(mlops.__path__, "mlops."):
        if module.name.endswith("_pb2"):
            importlib.import_module(module.name)


def kind_of(field: FieldDescriptor) -> str:
    """Returns the type of a field as contracts write it, for example `int64`."""
    return descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()  # type: ignore[arg-type]


def message_class(full_name: str) -> Any:
    """Returns the class of a message of the contracts."""
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))


def populated(full_name: str, wanted: Callable[[FieldDescriptor], bool] = lambda _: True) -> SearchStrategy[Any]:
    """Returns messages with any of their fields set, to arbitrary values that JSON can carry.

    Args:
        full_name: Type of the messages.
        wanted: Says which fields may be set.
    """
    described = descriptor_pool.Default().FindMessageTypeByName(full_name)
    return _message(described, wanted, depth=0)


def _message(described: Descriptor, wanted: Callable[[FieldDescriptor], bool], depth: int) -> SearchStrategy[Any]:
    @st.composite
    def drawn(draw: st.DrawFn) -> Any:
        made = message_factory.GetMessageClass(described)()
        for field in described.fields:
            if wanted(field) and draw(st.booleans()):
                _set(draw, made, field, wanted, depth)
        return made

    return drawn()


def _set(draw: st.DrawFn, made: Any, field: FieldDescriptor, wanted: Callable[[FieldDescriptor], bool], depth: int) -> None:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        if (value := inner.fields_by_name["value"]).message_type is None:
            getattr(made, field.name).update(draw(st.dictionaries(_scalar(inner.fields_by_name["key"]), _scalar(value), max_size=2)))
    elif inner is not None:
        _set_message(draw, made, field, inner, wanted, depth)
    elif field.is_repeated:
        getattr(made, field.name).extend(draw(st.lists(_scalar(field), max_size=3)))
    else:
        setattr(made, field.name, draw(_scalar(field)))


def _set_message(
    draw: st.DrawFn, made: Any, field: FieldDescriptor, inner: Descriptor, wanted: Callable[[FieldDescriptor], bool], depth: int
) -> None:
    if inner.full_name == "google.protobuf.Timestamp":
        # Only the present century: year 1 and its like are printed differently by different libraries.
        value = message_factory.GetMessageClass(inner)(
            seconds=draw(st.integers(0, 4 * 10**9)), nanos=draw(st.sampled_from([0, 250_000_000]))
        )
    elif inner.full_name == "google.protobuf.FieldMask":
        value = message_factory.GetMessageClass(inner)(
            paths=draw(st.lists(st.sampled_from(["tags", "display_name"]), min_size=1, unique=True))
        )
    elif inner.full_name.startswith("mlops.") and depth < _DEEPEST:
        value = draw(_message(inner, wanted, depth + 1))
    else:
        return
    if field.is_repeated:
        getattr(made, field.name).append(value)
    else:
        getattr(made, field.name).CopyFrom(value)


def _scalar(field: FieldDescriptor) -> SearchStrategy[Any]:
    kind = kind_of(field)
    if kind in _INTEGERS:
        return st.one_of(st.integers(*_INTEGERS[kind]), st.sampled_from([*_INTEGERS[kind], 0, 1]))
    if kind == "enum" and field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    # A server tells again what it has taken, and each rule of ours about a float leaves out what is not finite.
    is_any = kind not in ("double", "float") or not getattr(field.GetOptions().Extensions[validate_pb2.field], kind).ListFields()
    simple: dict[str, SearchStrategy[Any]] = {
        "string": st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12),
        "bytes": st.binary(max_size=12),
        "bool": st.booleans(),
        "double": st.floats(allow_nan=is_any, allow_infinity=is_any),
        "float": st.floats(allow_nan=is_any, allow_infinity=is_any, width=32),
    }
    return simple[kind]
