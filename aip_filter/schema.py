"""What can be filtered: the fields of a resource, their kinds, and how a literal becomes a value of that kind."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from typing import Literal as OneOf

from sqlalchemy import ColumnElement, Table, exists, true

from aip_filter.errors import FilterError
from aip_filter.syntax import Literal, Restriction

__all__ = ["Condition", "Entries", "Field", "Getter", "Kind", "Schema", "side_table", "value_of"]

Kind: TypeAlias = OneOf["string", "int", "float", "bool", "timestamp", "enum", "map"]
Getter: TypeAlias = Callable[[Mapping[str, Any]], Any]
Condition: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[bool]]
Entries: TypeAlias = Callable[[str, Condition], ColumnElement[bool]]
"""Key and condition on the value, to "there is an entry with this key whose value meets the condition"."""

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_OPERATORS: dict[str, tuple[str, ...]] = {
    "string": ("=", "!=", "<", "<=", ">", ">=", ":"),
    "int": ("=", "!=", "<", "<=", ">", ">=", ":"),
    "float": ("=", "!=", "<", "<=", ">", ">=", ":"),
    "timestamp": ("=", "!=", "<", "<=", ">", ">=", ":"),
    "bool": ("=", "!=", ":"),
    "enum": ("=", "!=", ":"),
    "map": (":",),
}


@dataclass(frozen=True)
class Field:
    """One field that a filter may name.

    Strings are compared by code point, so columns need a binary collation (`sql_engine.ExactString`).

    Args:
        kind: What its values are.
        column: Where it is in the database. Not for maps.
        getter: How to get it from a row in memory; by default the row's entry of the field's name.
        values: Of an enum: the names that a caller writes, upper or lower case, to the values that are stored.
        entries: Of a map in the database: how to ask for an entry, see `side_table`.
        value_kind: Of a map: what its values are.
    """

    kind: Kind
    column: ColumnElement[Any] | None = None
    getter: Getter | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    entries: Entries | None = None
    value_kind: Kind = "string"

    @property
    def is_nullable(self) -> bool:
        """Whether the column may be NULL; expressions are taken to be."""
        return bool(getattr(self.column, "nullable", True))


@dataclass(frozen=True)
class Schema:
    """The fields that filters over one resource may name."""

    fields: Mapping[str, Field]

    def names(self) -> list[str]:
        """Return what a caller may write, with ``.KEY`` behind maps."""
        return sorted(f"{name}.KEY" if known.kind == "map" else name for name, known in self.fields.items())

    def resolve(self, restriction: Restriction) -> tuple[str, Field, str | None]:
        """Return name, field and, for an entry of a map, key that a comparison is about.

        Raises:
            FilterError: If there is no such field.
        """
        name, *rest = restriction.path
        found = self.fields.get(name)
        if found is not None and found.kind == "map":
            # Label keys such as app.kubernetes.io/name hold dots; nothing else can follow a map.
            return name, found, ".".join(rest) if rest else None
        if found is None or rest:
            written = ".".join(restriction.path)
            raise FilterError(f"there is no field {written!r}; fields are {', '.join(self.names())}", restriction.position, self.names())
        return name, found, None


def side_table(table: Table, *owner: ColumnElement[bool], key: str = "key", value: str = "value") -> Entries:
    """Return how to ask for an entry of a map that is kept as rows of a side table.

    Args:
        table: The side table.
        owner: What ties its rows to the row being filtered, for example ``tags.c.model_id == models.c.id``.
        key: Name of the column with the key.
        value: Name of the column with the value.
    """

    def has_entry(wanted: str, condition: Condition) -> ColumnElement[bool]:
        return exists().where(*owner, table.c[key] == wanted, condition(table.c[value]))

    return has_entry


def anything(_: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that every value meets."""
    return true()


def check_operator(name: str, kind: Kind, operator: str, position: int) -> None:
    """Refuse an operator that a kind does not have.

    Raises:
        FilterError: If it is not among the kind's operators.
    """
    allowed = _OPERATORS[kind]
    if operator not in allowed:
        hint = f"; write {name}.KEY {operator} …" if kind == "map" else ""
        raise FilterError(
            f"{name!r} is of kind {kind} and cannot be compared with {operator}; allowed are {' '.join(allowed)}{hint}", position, allowed
        )


def value_of(name: str, kind: Kind, literal: Literal, values: Mapping[str, Any]) -> Any:
    """Return a literal as a value of a kind.

    Raises:
        FilterError: If it is none.
    """
    if literal.has_wildcard and kind != "string":
        raise _wrong(name, kind, literal, "a value without *")
    return _CONVERTERS[kind](name, literal, values)


def _string(_name: str, literal: Literal, _values: Mapping[str, Any]) -> str:
    if "\x00" in literal.text or any("\ud800" <= character <= "\udfff" for character in literal.text):
        raise FilterError("a value holds a character that no text can have (NUL or half a surrogate pair)", literal.position)
    return literal.text


def _integer(name: str, literal: Literal, _values: Mapping[str, Any]) -> int:
    if not _INTEGER.fullmatch(literal.text) or not -(2**63) <= (number := int(literal.text)) < 2**63:
        raise _wrong(name, "int", literal, "an integer of 64 bits such as 42")
    return number


def _float(name: str, literal: Literal, _values: Mapping[str, Any]) -> float:
    number = float(literal.text) if _NUMBER.fullmatch(literal.text) else math.nan
    if not math.isfinite(number):
        raise _wrong(name, "float", literal, "a finite number such as 0.75")
    return number


def _bool(name: str, literal: Literal, _values: Mapping[str, Any]) -> bool:
    if literal.text.lower() not in {"true", "false"}:
        raise _wrong(name, "bool", literal, "true or false", ("true", "false"))
    return literal.text.lower() == "true"


def _timestamp(name: str, literal: Literal, _values: Mapping[str, Any]) -> datetime:
    if _RFC3339.fullmatch(literal.text):
        try:
            return datetime.fromisoformat(literal.text.upper())
        except ValueError:
            pass
    raise _wrong(name, "timestamp", literal, 'a time as RFC 3339 writes it, such as "2026-01-31T12:00:00Z"')


def _enum(name: str, literal: Literal, values: Mapping[str, Any]) -> Any:
    for known, stored in values.items():
        if known.casefold() == literal.text.casefold():
            return stored
    raise _wrong(name, "enum", literal, f"one of {', '.join(values)}", tuple(values))


_CONVERTERS: dict[str, Callable[[str, Literal, Mapping[str, Any]], Any]] = {
    "string": _string,
    "int": _integer,
    "float": _float,
    "bool": _bool,
    "timestamp": _timestamp,
    "enum": _enum,
}


def _wrong(name: str, kind: str, literal: Literal, wanted: str, allowed: Iterable[str] = ()) -> FilterError:
    shown = f"{'*' if literal.any_prefix else ''}{literal.text}{'*' if literal.any_suffix and not literal.is_presence else ''}"
    return FilterError(f"{name!r} is of kind {kind}; {shown[:80]!r} is not {wanted}", literal.position, tuple(allowed))
