"""What can be wrong with a filter, an ordering or a page token, said so that the caller can put it right."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FilterError", "OrderByError", "PageTokenError", "QueryError"]


class QueryError(ValueError):
    """A query that cannot be answered as it stands.

    Args:
        message: What is wrong and what would be right.
        position: Where in the text, counted from 0; None where no place can be named.
        allowed: What could stand there instead, for example the names of the fields.
    """

    def __init__(self, message: str, position: int | None = None, allowed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.position = position
        self.allowed = tuple(allowed)


class FilterError(QueryError):
    """A filter that does not parse, or that names a field, operator or literal which its schema does not have."""


class OrderByError(QueryError):
    """An ordering that names a field by which nothing can be ordered."""


class PageTokenError(QueryError):
    """A page token that this query did not hand out."""
