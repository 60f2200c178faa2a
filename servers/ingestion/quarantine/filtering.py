"""What lists of rows in quarantine can be filtered and ordered by. Imports nothing heavy: the server looks before a data process does."""

from __future__ import annotations

from aip_filter import Expression, Field, Order, Schema, parse, parse_order_by, to_predicate

SCHEMA = Schema(
    {
        "ingestion_id": Field("string"),
        "producer": Field("string"),
        "subscription": Field("string"),
        "column": Field("string"),
        "reason": Field("string"),
        "quarantine_time": Field("timestamp"),
    }
)
_ORDER_FIELDS = {"quarantine_time": "quarantine_time", "ingestion_id": "origin"}
"""By their names in requests, the facts of files that rows are ordered by."""

_DEFAULT_ORDER = "quarantine_time desc"


def parsed(text: str) -> Expression:
    """Reads a filter.

    Raises:
        aip_filter.FilterError: If it is wrong.
    """
    expression = parse(text)
    to_predicate(expression, SCHEMA)
    return expression


def order(text: str) -> Order:
    """Reads an order, by the names of `_ORDER_FIELDS`; both have a part in it. Within an ingestion, rows are in their order.

    Raises:
        aip_filter.OrderByError: If it is wrong.
    """
    wanted = parse_order_by(text or _DEFAULT_ORDER, tuple(_ORDER_FIELDS))
    ordered = [*wanted, *((name, wanted[-1][1]) for name in _ORDER_FIELDS if name not in dict(wanted))]
    return [(_ORDER_FIELDS[name], descends) for name, descends in ordered]
