"""Why a plan, or a run of it, cannot be incremental."""

from __future__ import annotations

from collections.abc import Sequence

from servers.processing.incremental.obstacles import Obstacle
from servers.runtime.errors import FailedPrecondition, InvalidArgument

_SHOWN = 10


class NotIncremental(InvalidArgument):
    """A plan has steps that need more rows than those that are touched.

    Args:
        keys: Of the pipeline; none, if rows are only appended.
        obstacles: At least one.
    """

    reason = "PLAN_NOT_INCREMENTAL"

    def __init__(self, keys: Sequence[str], obstacles: Sequence[Obstacle]) -> None:
        how = f"with keys ({', '.join(keys)})" if keys else "without keys"
        steps = "; ".join(f"step {each.step!r} {each.problem}" for each in obstacles[:_SHOWN])
        more = f" and {len(obstacles) - _SHOWN} more" if len(obstacles) > _SHOWN else ""
        super().__init__(
            f"the pipeline cannot be incremental {how}: {steps}{more}; change these steps or the keys, or recompute in full",
            metadata={"step": obstacles[0].step},
        )
        self.obstacles = tuple(obstacles)


class KeysNotKept(FailedPrecondition):
    """A run gave rows of keys that it was not given: a Python function changes them."""

    reason = "KEYS_NOT_KEPT"

    def __init__(self, output: str, rows: int) -> None:
        super().__init__(
            f"output {output!r}: {rows} rows have keys that no changed row has, so a Python function changes the key of its rows; "
            "have it return the key unchanged, or recompute in full; nothing was written",
            metadata={"output": output},
        )
