from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from mlmesh.errors import InvalidArgument
from mlmesh.function_sources import source_of

LIMIT = 15


def run_elsewhere(function: Callable[[Any], Any], argument: Any) -> Any:
    """Runs what is sent of a function where nothing else is."""
    name, source = source_of(function)
    names: dict[str, Any] = {"__name__": "step"}
    exec(compile(source, "<step>", "exec"), names)
    return names[name](argument)


def with_annotations(batch: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow.compute as pc

    return batch.append_column("late", pc.greater(batch.column("delay"), 15))


def with_everything_inside(numbers: list[int], step: int = 2) -> int:
    """Calls itself, has a function, a class, a comprehension and a text with braces inside of it."""
    import math

    class Counter:
        first = 0
        second = first

        def add(self, number: int) -> int:
            return number + step

    def doubled(number: int) -> int:
        return number * 2

    if len(numbers) > 1:
        return sum(with_everything_inside([one]) for one in numbers)
    return math.prod(doubled(Counter().add(one)) for one in numbers)


def with_a_limit(numbers: list[int]) -> list[int]:
    return [one for one in numbers if one > LIMIT]


def with_a_default(number: int, limit: int = LIMIT) -> bool:
    return number > limit


def with_a_module(numbers: list[int]) -> Any:
    return pa.array(numbers)


def with_a_hidden_global(numbers: list[int]) -> Any:
    def inner() -> int:
        return LIMIT

    return [inner() for _ in numbers]


@functools.cache
def cached(number: int) -> int:
    return number


def plainly_decorated(function: Callable[[int], int]) -> Callable[[int], int]:
    return function


@plainly_decorated
def decorated(number: int) -> int:
    return number


async def waits(number: int) -> int:
    return number


def yields(number: int) -> Any:
    yield number


def test_a_function_runs_elsewhere_as_it_does_here() -> None:
    batch = pa.RecordBatch.from_pydict({"delay": [5, 20]})
    assert run_elsewhere(with_annotations, batch).to_pydict() == {"delay": [5, 20], "late": [False, True]}
    assert run_elsewhere(with_everything_inside, [1, 2]) == with_everything_inside([1, 2]) == 14


def test_a_function_of_a_function_keeps_its_texts() -> None:
    def inner(text: str) -> str:
        return f"""{text}
        later
even later"""

    assert run_elsewhere(inner, "late") == inner("late") == "late\n        later\neven later"


def around(limit: int) -> Callable[[int], bool]:
    def closed(number: int) -> bool:
        return number > limit

    return closed


def made_of_text() -> Callable[[int], int]:
    names: dict[str, Any] = {}
    exec("def typed(number):\n    return number", names)
    function: Callable[[int], int] = names["typed"]
    return function


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda batch: batch, "a lambda cannot be sent"),
        (around(5), "function 'closed' uses variables of the function around it: limit"),
        (with_a_limit, "function 'with_a_limit' uses what is defined outside of it: LIMIT"),
        (with_a_default, "uses what is defined outside of it: LIMIT"),
        (with_a_module, "uses what is defined outside of it: pa"),
        (with_a_hidden_global, "uses what is defined outside of it: LIMIT"),
        (cached, "is no plain function"),
        (decorated, "function 'decorated' is decorated"),
        (functools.partial(with_a_default, limit=3), "is no plain function"),
        (len, "is no plain function"),
        (dict, "is no plain function"),
        (waits, "is no plain function"),
        (yields, "is no plain function"),
        (made_of_text(), "the source of function 'typed' is not to be had"),
        ("late", "'late' is no plain function"),
    ],
)
def test_what_cannot_run_elsewhere_is_refused_with_what_to_do(function: Any, problem: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        source_of(function)
    assert problem in raised.value.message
    assert raised.value.reason == "FUNCTION_UNSENDABLE"
    assert raised.value.hint
