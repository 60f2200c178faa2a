"""Turns errors of a library that knows no gRPC into domain errors, next to the servicer, so that everything further out sees only those."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from servers.runtime.calls import Behaviour, Call, Method, guarded
from servers.runtime.errors import DomainError

Translate = Callable[[BaseException], DomainError | None]
"""Says what an error is to a caller; None for one it does not know."""


class TranslationInterceptor:
    """Translates what a servicer raises.

    Args:
        translate: What the errors of the component's library mean.
    """

    def __init__(self, translate: Translate) -> None:
        self._translate = translate

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour that raises domain errors where the library raised its own."""
        return guarded(method, inner, self._translating)

    @contextmanager
    def _translating(self, _call: Call) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            known = self._translate(error)
            if known is None:
                raise
            raise known from error
