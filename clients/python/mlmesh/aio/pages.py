"""Lists that come in pages, as one iterator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Generic, TypeVar

import grpc.aio
from google.protobuf.message import Message

from mlmesh.aio.calls import Caller

Item = TypeVar("Item")


class Pager(Generic[Item]):
    """The items of a list; pages are fetched as they are needed.

    Args:
        caller: Makes the calls.
        call: The list method.
        request: Its request; `page_token` is filled in.
        field: Name of the field of the answer that has the items.
        timeout_s: Deadline for each page, in seconds; None = the connection's.
        read: Makes an item of a message; None = the messages are the items.
    """

    def __init__(
        self,
        caller: Caller,
        call: grpc.aio.UnaryUnaryMultiCallable[Any, Any],
        request: Message,
        field: str,
        timeout_s: float | None,
        read: Callable[[Any], Item] | None = None,
    ) -> None:
        self._caller = caller
        self._call = call
        self._request = request
        self._field = field
        self._timeout_s = timeout_s
        self._read = read

    async def __aiter__(self) -> AsyncIterator[Item]:
        """Yields every item."""
        async for page in self.pages():
            for item in page:
                yield item

    async def pages(self) -> AsyncIterator[Sequence[Item]]:
        """Yields the items page by page."""
        items, following = await self.page()
        yield items
        while following:
            items, following = await self.page(following)
            yield items

    async def page(self, page_token: str = "") -> tuple[Sequence[Item], str]:
        """Returns one page.

        Args:
            page_token: What was returned with the page before; empty = the first page.

        Returns:
            The items, and the token of the next page, empty on the last.
        """
        request: Any = type(self._request)()
        request.CopyFrom(self._request)
        request.page_token = page_token
        answer = await self._caller.unary(self._call, request, timeout_s=self._timeout_s)
        found = getattr(answer, self._field)
        return list(map(self._read, found) if self._read is not None else found), answer.next_page_token

    async def to_list(self, limit: int | None = None) -> list[Item]:
        """Returns the items, at most `limit` of them."""
        found: list[Item] = []
        async for item in self:
            if limit is not None and len(found) >= limit:
                break
            found.append(item)
        return found
