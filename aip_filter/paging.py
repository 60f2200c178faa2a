"""Order and pages: orderings as callers write them, and tokens that continue behind the last row seen.

A page continues by the values of its last row (keyset), never by an offset: rows that come or go meanwhile neither repeat nor
hide others, and the thousandth page costs what the first did.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import ColumnElement, and_, or_

from aip_filter.errors import OrderByError, PageTokenError

__all__ = ["Order", "decode_page_token", "encode_page_token", "keyset_after", "order_columns", "page_in_memory", "parse_order_by"]

Order: TypeAlias = list[tuple[str, bool]]
"""Fields, each with whether it descends."""

_Item = TypeVar("_Item")
_WORD = re.compile(r"\S+")
_MAX_TOKEN_LENGTH = 8192


def parse_order_by(text: str, allowed: Collection[str]) -> Order:
    """Parse an ordering such as ``create_time desc, name``.

    Args:
        text: The ordering; empty orders by nothing.
        allowed: The fields that may stand in it.

    Raises:
        OrderByError: If a field is not allowed or occurs twice, or a direction is neither ``asc`` nor ``desc``.
    """
    order: Order = []
    names = sorted(allowed)
    position = 0
    for part in text.split(",") if text.strip() else ():
        words = _WORD.findall(part)
        field = words[0] if words else ""
        if field not in allowed:
            raise OrderByError(f"cannot order by {field!r}; allowed are {', '.join(names)}", position, names)
        if len(words) > 2 or (len(words) == 2 and words[1].lower() not in {"asc", "desc"}):
            raise OrderByError(f"{' '.join(words[1:])!r} is no direction; allowed are asc and desc", position, ("asc", "desc"))
        if any(field == seen for seen, _ in order):
            raise OrderByError(f"{field!r} occurs twice in the ordering", position, names)
        order.append((field, len(words) == 2 and words[1].lower() == "desc"))
        position += len(part) + 1
    return order


def order_columns(order: Sequence[tuple[ColumnElement[Any], bool]]) -> list[ColumnElement[Any]]:
    """Return columns with their directions for ``ORDER BY``."""
    return [column.desc() if descends else column.asc() for column, descends in order]


def keyset_after(order: Sequence[tuple[ColumnElement[Any], bool]], last: Sequence[Any]) -> ColumnElement[bool]:
    """Return the condition that a row comes behind the last one seen.

    Args:
        order: The columns of ``ORDER BY`` with their directions. Together unique, none of them NULL.
        last: Their values in the last row seen, from `decode_page_token`.

    Raises:
        PageTokenError: If number or types of the values do not fit the columns.
    """
    _check_types([column.type.python_type for column, _ in order], last)
    # Anybody can seal a token, also one with values that no database takes.
    if not all(map(_can_be_stored, last)):
        raise _unfit()
    behind = []
    for index, (column, descends) in enumerate(order):
        equal = [before == value for (before, _), value in zip(order[:index], last, strict=False)]
        behind.append(and_(*equal, column < last[index] if descends else column > last[index]))
    first, descends = order[0]
    # Implied by the rest; said again because an index serves a range, and not a disjunction.
    bound = first <= last[0] if descends else first >= last[0]
    return and_(bound, or_(*behind))


def page_in_memory(
    items: Iterable[_Item], order: Sequence[tuple[Callable[[_Item], Any], bool]], last: Sequence[Any] | None, size: int
) -> tuple[list[_Item], list[Any] | None]:
    """Return one page of items that are in memory, as `keyset_after` would select it.

    Args:
        items: All items.
        order: How to get each value that orders them, with its direction. Together unique.
        last: Values of the last item seen, from `decode_page_token`; None for the first page.
        size: Most items to return.

    Returns:
        The page, and the values of its last item where more follow.

    Raises:
        PageTokenError: If number or types of the values do not fit.
    """
    ordered = list(items)
    for get, descends in reversed(order):
        ordered.sort(key=get, reverse=descends)
    if last is not None:
        if ordered:
            _check_types([type(get(ordered[0])) for get, _ in order], last)
        ordered = [item for item in ordered if _is_behind(item, order, last)]
    page = ordered[:size]
    return page, [get(page[-1]) for get, _ in order] if len(ordered) > size else None


def encode_page_token(last: Sequence[Any], *, filter: str = "", order_by: str = "", scope: str = "") -> str:
    """Return the token of the page behind a row.

    Args:
        last: The row's values of the ordering; strings, numbers, booleans and times with a zone.
        filter: The filter of the query, as it came.
        order_by: The ordering of the query, as it came.
        scope: Whatever else has to be the same on the next page, for example method and project.
    """
    values = json.dumps([_to_json(value) for value in last], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(_seal(values, filter, order_by, scope) + values.encode()).decode().rstrip("=")


def decode_page_token(token: str, *, filter: str = "", order_by: str = "", scope: str = "") -> list[Any]:
    """Return the values that `encode_page_token` put into a token.

    Args:
        token: What the caller sent.
        filter: The filter of this query.
        order_by: The ordering of this query.
        scope: As for `encode_page_token`.

    Raises:
        PageTokenError: If the token is damaged or belongs to another query.
    """
    wrong = PageTokenError(
        "the page token belongs to another query or is damaged; send filter, order_by and all else as for the page before"
    )
    if len(token) > _MAX_TOKEN_LENGTH:
        raise wrong
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        values = raw[16:].decode()
        if raw[:16] != _seal(values, filter, order_by, scope):
            raise wrong
        return [_from_json(value) for value in json.loads(values)]
    except (binascii.Error, TypeError, ValueError, KeyError, RecursionError):
        raise wrong from None


def _seal(values: str, *query: str) -> bytes:
    # Ties a token to its query and finds damage. It is no secret: a token only says where to go on.
    return hashlib.sha256(json.dumps([values, *query]).encode()).digest()[:16]


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"t": value.astimezone(UTC).isoformat()}
    return value


def _from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    time = datetime.fromisoformat(value["t"])
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time


def _can_be_stored(value: Any) -> bool:
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, str) or not re.search("[\0\ud800-\udfff]", value)


def _check_types(types: Sequence[type], last: Sequence[Any]) -> None:
    numeric = (int, float)
    fits = len(types) == len(last) and all(
        isinstance(value, numeric if wanted is float else wanted) and isinstance(value, bool) == (wanted is bool)
        for wanted, value in zip(types, last, strict=True)
    )
    if not fits:
        raise _unfit()


def _unfit() -> PageTokenError:
    return PageTokenError("the page token does not fit this query; begin with the first page")


def _is_behind(item: _Item, order: Sequence[tuple[Callable[[_Item], Any], bool]], last: Sequence[Any]) -> bool:
    for (get, descends), seen in zip(order, last, strict=True):
        value = get(item)
        if value != seen:
            return bool(value < seen if descends else value > seen)
    return False
