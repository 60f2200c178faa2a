"""Blocking work and waiting, for code that must not block its event loop. `mlmesh.sync.blocking` is its twin; both are written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

Lock = asyncio.Lock
Queue = asyncio.Queue


async def run_blocking(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Runs a function that reads files or computes, beside the event loop."""
    return await asyncio.to_thread(function, *arguments)


async def next_of(items: AsyncIterator[_Item]) -> _Item | None:
    """Returns the next item; None where there is none."""
    return await anext(items, None)


async def pause(seconds: float) -> None:
    """Waits."""
    await asyncio.sleep(seconds)
