"""One page of a table: filter, order and keyset, all in SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Connection, FromClause, RowMapping, select

from aip_filter import Schema, decode_page_token, encode_page_token, keyset_after, order_columns, parse, parse_order_by, to_sql
from servers.runtime.paging import Listing

Item = TypeVar("Item")


@dataclass(frozen=True)
class Collection(Generic[Item]):
    """What can be listed, and how.

    Args:
        name: Ties page tokens to this collection.
        source: Table or join to read.
        columns: Columns that `read` wants.
        schema: Fields a filter may name.
        order_fields: Fields an order may name, to columns that are never NULL.
        default_order: Order where none is asked for.
        tie_breaker: Unique column that ends every order.
        read: Makes an item of a row.
    """

    name: str
    source: FromClause
    columns: Sequence[ColumnElement[Any]]
    schema: Schema
    order_fields: Mapping[str, ColumnElement[Any]]
    default_order: str
    tie_breaker: ColumnElement[Any]
    read: Callable[[RowMapping], Item]


def read_page(
    connection: Connection, collection: Collection[Item], listing: Listing, *conditions: ColumnElement[bool], scope: str = ""
) -> tuple[list[Item], str]:
    """Reads one page.

    Args:
        connection: Where to read.
        collection: What to read.
        listing: Which part of it.
        conditions: What every item has to meet beside the filter.
        scope: Ties page tokens to `conditions`.

    Returns:
        Items, and the token of the next page or an empty text.

    Raises:
        aip_filter.QueryError: Filter, order or page token is wrong.
    """
    fields = parse_order_by(listing.order_by, set(collection.order_fields)) or parse_order_by(
        collection.default_order, set(collection.order_fields)
    )
    order = [(collection.order_fields[name], descends) for name, descends in fields]
    order.append((collection.tie_breaker, order[-1][1]))
    bound = {"filter": listing.filter, "order_by": listing.order_by, "scope": f"{collection.name}\n{scope}"}
    ordering = [column.label(f"order_{position}") for position, (column, _) in enumerate(order)]
    query = select(*collection.columns, *ordering).select_from(collection.source).where(*conditions)
    if listing.filter:
        query = query.where(to_sql(parse(listing.filter), collection.schema))
    if listing.page_token:
        query = query.where(keyset_after(order, decode_page_token(listing.page_token, **bound)))
    rows = connection.execute(query.order_by(*order_columns(order)).limit(listing.page_size + 1)).mappings().all()
    page = rows[: listing.page_size]
    token = ""
    if len(rows) > listing.page_size:
        token = encode_page_token([page[-1][label.name] for label in ordering], **bound)
    return [collection.read(row) for row in page], token
