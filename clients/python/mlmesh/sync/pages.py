"""Lists that come in pages, as one iterator."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from mlmesh.sync.calls import Caller

Item = TypeVar("Item")


class Pager(Generic[Item]):
    """The items of a list; pages are fetched as they are needed.

    Args:
        caller: Makes the calls.
        call: The list method.
        request: Its request; `page_token` is filled in.
        field: Name of the field of the answer that has the items.
        timeout_s: Deadline for each page, in seconds; None = the connection's.
    """

    def __init__(
        self, caller: Caller, call: grpc.UnaryUnaryMultiCallable[Any, Any], request: Message, field: str, timeout_s: float | None
    ) -> None:
        self._caller = caller
        self._call = call
        self._request = request
        self._field = field
        self._timeout_s = timeout_s

    def __iter__(self) -> Iterator[Item]:
        """Yields every item."""
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[Sequence[Item]]:
        """Yields the items page by page."""
        request: Any = type(self._request)()
        request.CopyFrom(self._request)
        while True:
            answer = self._caller.unary(self._call, request, timeout_s=self._timeout_s)
            yield list(getattr(answer, self._field))
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def to_list(self, limit: int | None = None) -> list[Item]:
        """Returns the items, at most `limit` of them."""
        found: list[Item] = []
        for item in self:
            if limit is not None and len(found) >= limit:
                break
            found.append(item)
        return found
