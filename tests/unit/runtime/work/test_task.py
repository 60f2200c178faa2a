from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.work import Failure, NewTask, Result, TaskState, WorkSettings
from servers.runtime.work.settings import retry_pause_s
from servers.runtime.work.task import after_failed_run, check_size


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task_id": ""}, "0 characters"),
        ({"task_id": "x" * 129}, "129 characters"),
        ({"kind": "Ingest"}, "no kind of task"),
        ({"kind": ""}, "no kind of task"),
        ({"kind": "x" * 64}, "no kind of task"),
        ({"max_attempts": 0}, "at least"),
        ({"payload": {"text": "x" * 65_536}}, "at most 65536"),
        ({"payload": {"number": float("nan")}}, "JSON"),
    ],
)
def test_a_task_that_the_table_cannot_hold_is_not_made(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NewTask(**{"task_id": "task-1", "kind": "ingest", "payload": {}, **fields})


def test_a_payload_that_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError):
        NewTask(task_id="task-1", kind="ingest", payload={"file": object()})


@given(st.integers(0, 200))
def test_a_value_may_have_exactly_the_limit(size: int) -> None:
    check_size("the text", "x" * size, size + 2)
    with pytest.raises(ValueError, match=f"the text has {size + 2} bytes"):
        check_size("the text", "x" * size, size + 1)


def test_a_result_is_bounded() -> None:
    with pytest.raises(ValueError, match="the result has"):
        Result("x" * 65_536)


def test_three_states_are_final() -> None:
    assert [state for state in TaskState if state.is_terminal] == [TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED]


@given(attempt=st.integers(1, 9), more=st.integers(0, 9), cancel_requested=st.booleans(), is_retried=st.booleans())
def test_a_failed_task_waits_again_exactly_where_another_attempt_is_wanted_and_left(
    attempt: int, more: int, cancel_requested: bool, is_retried: bool
) -> None:
    state = after_failed_run(attempt=attempt, max_attempts=attempt + more, cancel_requested=cancel_requested, is_retried=is_retried)

    assert (state is TaskState.QUEUED) == (is_retried and more > 0 and not cancel_requested)
    assert state in (TaskState.QUEUED, TaskState.FAILED, TaskState.CANCELLED)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_pause_before_a_retry_has_full_jitter_and_a_limit(attempt: int, chance: float) -> None:
    settings = WorkSettings(first_retry_s=1, longest_retry_s=300)

    longest_s = retry_pause_s(settings, attempt, lambda: 1)

    assert longest_s == min(300, 2 ** (attempt - 1))
    assert retry_pause_s(settings, attempt, lambda: chance) == chance * longest_s


def test_a_failure_can_be_written_to_every_database():
    assert Failure("INVALID_FILE", "the name a\0b").message == "the name a␀b"
