"""Types of columns, as DuckDB writes them."""

from __future__ import annotations

import re
from functools import lru_cache

import duckdb
import pyarrow as pa

from servers.processing.plan.errors import TypeMismatch, UnsupportedType, shown
from servers.runtime.duckdb_session import thread_session
from servers.runtime.sql_names import quoted

_NUMBERS = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)")
_WHOLE_NUMBERS = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)")
_TIMES = re.compile(r"DATE|TIMESTAMP(_S|_MS|_NS|TZ_NS)?|TIMESTAMP WITH TIME ZONE")
_MOST_CHARACTERS = 10_000
_DIGITS_OF_WHOLE_NUMBERS = {
    "TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 19, "HUGEINT": 38,
    "UTINYINT": 3, "USMALLINT": 5, "UINTEGER": 10, "UBIGINT": 20, "UHUGEINT": 38,
}  # fmt: skip

TRAVELLING = {"HUGEINT": "DECIMAL(38,0)", "UHUGEINT": "DECIMAL(38,0)", "UUID": "VARCHAR", "JSON": "VARCHAR"}
"""As what types that Arrow lacks travel between statements; within a statement they are what they are."""


def is_number(name: str) -> bool:
    """Says whether values of a type are numbers."""
    return _NUMBERS.fullmatch(name) is not None


def is_whole_number(name: str) -> bool:
    """Says whether values of a type are whole numbers."""
    return _WHOLE_NUMBERS.fullmatch(name) is not None


def is_float(name: str) -> bool:
    """Says whether a type has NaN."""
    return name in ("FLOAT", "DOUBLE")


def is_time(name: str) -> bool:
    """Says whether values of a type are days or moments."""
    return _TIMES.fullmatch(name) is not None


def common_type(left: str, right: str) -> str:
    """Returns the type in which values of two types are compared.

    Raises:
        TypeMismatch: INVALID_ARGUMENT: they are not of one kind: both numbers, both times, or the same.
    """
    if left == right:
        return left
    if not ((is_number(left) and is_number(right)) or (is_time(left) and is_time(right))):
        raise TypeMismatch(f"{left} and {right} cannot be compared; cast one of them in a Project before")
    if left.startswith("DECIMAL") or right.startswith("DECIMAL"):
        digits = [_digits(each) for each in (left, right)]
        if None not in digits:
            return _wider(*(each for each in digits if each is not None))
    return _both(left, right)


def normal_type(name: str) -> str:
    """Returns a type as DuckDB writes it.

    Raises:
        UnsupportedType: INVALID_ARGUMENT: there is no such type.
    """
    if len(name) > _MOST_CHARACTERS:
        raise UnsupportedType(f"a type's name has at most {_MOST_CHARACTERS} characters")
    try:
        return _normal(name)
    except duckdb.Error as error:
        raise UnsupportedType(f"{shown(name)} is no type: {str(error).splitlines()[0]}") from None


def travelling_field(name: str, type_name: str) -> pa.Field:
    """Returns the Arrow field of a column where it goes to another stage, a Python function or out of the plan.

    Args:
        name: Of the column.
        type_name: Its type within a statement.

    Raises:
        UnsupportedType: INVALID_ARGUMENT: Arrow has no type that comes back as the same.
    """
    travelling = TRAVELLING.get(type_name, type_name)
    try:
        field = _travelling(travelling, "value")
        # DuckDB names the items of lists after their column.
        return _travelling(travelling, name) if pa.types.is_nested(field.type) else field.with_name(name)
    except UnsupportedType:
        raise UnsupportedType(f"column {shown(name)} is {type_name}, which Arrow cannot carry; cast it, to VARCHAR for example") from None


@lru_cache(maxsize=4096)
def _travelling(type_name: str, name: str) -> pa.Field:
    session = thread_session()
    table = session.sql(f"SELECT CAST(NULL AS {type_name}) AS {quoted(name)} LIMIT 0").to_arrow_table()
    session.register("travelled", table)
    try:
        back = str(session.sql("SELECT * FROM travelled").types[0])
    finally:
        session.unregister("travelled")
    if back != type_name:
        raise UnsupportedType(f"{type_name} comes back as {back}")
    field: pa.Field = table.schema.field(0)
    return field


def _digits(name: str) -> tuple[int, int] | None:
    """Digits before and behind the point that a number's type holds; None for floats."""
    if name in _DIGITS_OF_WHOLE_NUMBERS:
        return _DIGITS_OF_WHOLE_NUMBERS[name], 0
    match = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", name)
    return (int(match[1]) - int(match[2]), int(match[2])) if match else None


def _wider(left: tuple[int, int], right: tuple[int, int]) -> str:
    # As DuckDB compares decimals; its CASE gives up digits behind the point where both do not fit.
    behind = max(left[1], right[1])
    return f"DECIMAL({min(max(left[0], right[0]) + behind, 38)},{behind})"


@lru_cache(maxsize=4096)
def _both(left: str, right: str) -> str:
    query = f"SELECT typeof(CASE WHEN true THEN CAST(NULL AS {left}) ELSE CAST(NULL AS {right}) END)"
    (row,) = thread_session().execute(query).fetchall()
    return str(row[0])


@lru_cache(maxsize=4096)
def _normal(name: str) -> str:
    return str(thread_session().type(name))
