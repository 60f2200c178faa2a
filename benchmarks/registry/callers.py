"""Several callers at once, the same for both sides. Needs nothing but Python: MLflow's venv has nothing of ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def seconds_of(call: Callable[[int], object], count: int, callers: int) -> float:
    """Calls a function with 0 … count - 1.

    Args:
        call: The function.
        count: How often.
        callers: How many threads call it at the same time.

    Returns:
        Seconds from the first call to the last answer.
    """
    started = time.perf_counter()
    if callers == 1:
        for number in range(count):
            call(number)
    else:
        with ThreadPoolExecutor(callers) as pool:
            list(pool.map(call, range(count)))
    return time.perf_counter() - started
