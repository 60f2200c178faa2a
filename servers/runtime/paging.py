"""What a list request asks for, and its page size: one rule for every component (contracts, point 6)."""

from __future__ import annotations

from dataclasses import dataclass

from servers.runtime.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 50
"""Items a page where the request says nothing."""

MAX_PAGE_SIZE = 1000
"""Most items a page; more is coerced, so that a client that asks for everything gets as much as there can be."""


@dataclass(frozen=True)
class Listing:
    """What part of a collection a caller wants.

    Args:
        page_size: Items a page, 1 to 1,000.
        page_token: Where the page before ended; empty for the first.
        filter: AIP-160 filter; empty for all.
        order_by: Order; empty for the collection's own.
    """

    page_size: int = DEFAULT_PAGE_SIZE
    page_token: str = ""
    filter: str = ""
    order_by: str = ""


def page_size(requested: int) -> int:
    """The number of items a page has.

    Args:
        requested: `page_size` of the request.

    Returns:
        50 for 0, 1,000 for more than that, else what was requested.

    Raises:
        InvalidArgument: It is negative.
    """
    if requested < 0:
        text = f"page_size is {requested}; it has to be 0 (which means {DEFAULT_PAGE_SIZE}) to {MAX_PAGE_SIZE}."
        raise InvalidArgument(text, field_violations=[("page_size", text)], reason="PAGE_SIZE_NEGATIVE")
    return min(requested, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE
