"""How deeply texts may be nested."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from servers.processing.plan.errors import PlanTooLarge
from servers.runtime.sql_trees import NestedTooDeeply

_TOO_DEEP = (
    "it is nested too deeply: some 80 levels are allowed; compute a part of it in a step before, and many sums as list_sum([a, b, …])"
)


@contextmanager
def within_depth() -> Iterator[None]:
    """Makes the end of DuckDB's depth, and of Python's stack, an error about the text that is being read.

    Raises:
        PlanTooLarge: INVALID_ARGUMENT: it is nested too deeply.
    """
    try:
        yield
    except (NestedTooDeeply, RecursionError):
        raise PlanTooLarge(_TOO_DEEP) from None
