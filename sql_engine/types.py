"""Column types that keep the same value on every database."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, Double, Float, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

__all__ = ["ExactString", "ExactText", "JsonText", "UtcDateTime", "exact_float"]

_MYSQL = ("mysql", "mariadb")
# utf8mb4_bin takes "a" for "a ": the older collations pad with blanks before they compare.
_MYSQL_EXACT = "utf8mb4_0900_bin"
_MARIADB_EXACT = "utf8mb4_nopad_bin"


def ExactString(length: int) -> String:  # noqa: N802 - reads as the type it returns
    """Return a text of at most `length` characters that is compared and sorted by code point: `a` is not `A`, on no database."""
    return (
        String(length)
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation=_MYSQL_EXACT), "mysql")
        .with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation=_MARIADB_EXACT), "mariadb")
        .with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    )


def ExactText() -> Text:  # noqa: N802
    """Return a text of any length that is compared by code point."""
    return (
        Text()
        .with_variant(mysql.LONGTEXT(charset="utf8mb4", collation=_MYSQL_EXACT), "mysql")
        .with_variant(mysql.LONGTEXT(charset="utf8mb4", collation=_MARIADB_EXACT), "mariadb")
        .with_variant(postgresql.TEXT(collation="C"), "postgresql")
    )


def exact_float() -> Float[float]:
    """Return a floating point number of 64 bits; MySQL's FLOAT has 32."""
    return Double()


class UtcDateTime(TypeDecorator[datetime]):
    """A time with microseconds, in UTC, always with its zone."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of the database."""
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    @property
    def python_type(self) -> type[datetime]:
        """Return `datetime`."""
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone, which everybody reads as another time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"the time {value!r} has no zone; use datetime.now(UTC)")
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - the signature of TypeDecorator
        """Give the time its zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class JsonText(TypeDecorator[Any]):
    """A JSON value as text, the same bytes on every database; None is NULL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of the database."""
        return dialect.type_descriptor(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin") if dialect.name in _MYSQL else Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write the value with sorted keys."""
        return None if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Read the value back."""
        return None if value is None else json.loads(value)
