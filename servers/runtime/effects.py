"""What a request makes has one id, however often the request is made.

A request whose server died after the effect and before the answer is made again (ADR 38). By the id, which was committed with the
effect, the component finds what is there already.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Effect:
    """What a request makes.

    Args:
        id: UUID for it.
        may_be_there: Whether an earlier attempt at the request has committed it, and its answer was lost.
    """

    id: str
    may_be_there: bool = False


_current: ContextVar[Effect | None] = ContextVar("servers_runtime_effect", default=None)


def new_effect() -> Effect:
    """Returns an effect that nobody has begun."""
    return Effect(str(uuid.uuid4()))


@contextmanager
def making(effect: Effect) -> Iterator[None]:
    """Has the block make an effect.

    Args:
        effect: Which one.
    """
    token = _current.set(effect)
    try:
        yield
    finally:
        _current.reset(token)


def effect_id() -> str:
    """Returns the id for what the current request makes, the same in each attempt; a new one where requests have no `request_id`.

    For one thing a request: whoever makes several needs ids of their own for the others.
    """
    effect = _current.get() or new_effect()
    return effect.id


def made_before(get: Callable[[str], _Made], not_found: type[Exception]) -> _Made | None:
    """Returns what an earlier attempt at the current request has made; None where it has made nothing. A first attempt does not even look.

    Args:
        get: Returns what has an id.
        not_found: What `get` raises where nothing has.
    """
    effect = _current.get()
    if effect is not None and effect.may_be_there:
        with suppress(not_found):
            return get(effect.id)
    return None
