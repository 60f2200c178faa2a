"""What a task is, and what becomes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

MAX_ID_CHARS = 128
MAX_PAYLOAD_BYTES = 64 * 1024
"""Longest payload or result as JSON, in bytes. What is larger belongs into a blob or a table, and its name into the task."""
MAX_PROGRESS_BYTES = 4 * 1024
MAX_MESSAGE_CHARS = 1024

WORK_LOST = "WORK_LOST"
"""Reason of a task whose workers disappeared as often as it may be attempted."""
INTERNAL = "INTERNAL"
"""Reason of a task whose handler failed in a way that it did not foresee."""

_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,62}", re.ASCII)


class TaskState(StrEnum):
    """Where a task stands. The last three are final."""

    QUEUED = "QUEUED"
    """Waits for a worker. Becomes RUNNING or CANCELLED."""
    RUNNING = "RUNNING"
    """A worker has it. Becomes any other, or stays RUNNING with another worker."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """Whether it never changes again."""
        return self not in (TaskState.QUEUED, TaskState.RUNNING)


@dataclass(frozen=True)
class Failure:
    """Why a task failed, for its reader.

    Args:
        reason: UPPER_SNAKE_CASE, at most 63 characters.
        message: English, at most 1,024 characters; what is longer is cut, and a NUL is shown as `␀`.
    """

    reason: str
    message: str

    def __post_init__(self) -> None:
        # PostgreSQL keeps no NUL: the outcome could not be written, and the task would be attempted again and again.
        object.__setattr__(self, "message", self.message.replace("\0", "\N{SYMBOL FOR NULL}"))


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """A task to be done.

    Args:
        task_id: At most 128 characters. Enqueueing an id a second time changes nothing.
        kind: Which handler does it: lower-case letters, digits and `_.-`, at most 63.
        payload: What the handler needs to know, as JSON of at most 64 KiB.
        priority: The highest is taken first; among equals the oldest.
        not_before: When it may begin; None = now.
        max_attempts: How often it is begun at most, at least 1.

    Raises:
        ValueError: A value is outside of these bounds.
        TypeError: The payload is no JSON.
    """

    task_id: str
    kind: str
    payload: Mapping[str, Any]
    priority: int = 0
    not_before: datetime | None = None
    max_attempts: int = 3

    def __post_init__(self) -> None:
        if not 1 <= len(self.task_id) <= MAX_ID_CHARS:
            raise ValueError(f"a task's id has {len(self.task_id)} characters; 1 to {MAX_ID_CHARS} are allowed")
        if not _KIND.fullmatch(self.kind):
            raise ValueError(f"{self.kind!r} is no kind of task: lower-case letters, digits and _.- are allowed, 63 at most")
        if self.max_attempts < 1:
            raise ValueError(f"task {self.task_id!r} may be attempted {self.max_attempts} times; it needs one at least")
        check_size(f"the payload of task {self.task_id!r}", self.payload, MAX_PAYLOAD_BYTES)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as the table has it.

    Args:
        task_id: Given by whoever enqueued it.
        kind: Which handler does it.
        payload: What the handler needs to know.
        state: Where it stands.
        priority: The highest is taken first.
        create_time: When it was enqueued.
        start_time: When it first began; None before.
        end_time: When it reached a final state; None before.
        not_before: When it may begin, or begin again.
        attempt: How often it was begun, without those that were given back.
        max_attempts: How often it is begun at most.
        owner: The worker that has it; None where none does.
        fence: How often it was claimed.
        lease_end: When others may take it; None where nobody has it.
        cancel_requested: Whether its handler shall stop.
        progress: What the handler last reported.
        result: What the handler returned, where it succeeded.
        error: Why it failed, or why its last attempt did.
    """

    task_id: str
    kind: str
    payload: Mapping[str, Any]
    state: TaskState
    priority: int
    create_time: datetime
    start_time: datetime | None
    end_time: datetime | None
    not_before: datetime
    attempt: int
    max_attempts: int
    owner: str | None
    fence: int
    lease_end: datetime | None
    cancel_requested: bool
    progress: Any
    result: Any
    error: Failure | None


@dataclass(frozen=True)
class Lease:
    """The right of one worker to do a task, until its end or until somebody else takes the task over.

    Args:
        task: The task as it was claimed.
        owner: The worker.
        fence: Number of the claim; a later one has a higher number.
        end: When others may take the task, unless it is renewed.
    """

    task: Task
    owner: str
    fence: int
    end: datetime

    @property
    def key(self) -> tuple[str, int]:
        """Tells this lease from all others."""
        return self.task.task_id, self.fence


def after_failed_run(*, attempt: int, max_attempts: int, cancel_requested: bool, is_retried: bool) -> TaskState:
    """Returns what becomes of a task whose attempt failed.

    Args:
        attempt: The number of the attempt, from 1.
        max_attempts: How many there may be.
        cancel_requested: Whether somebody asked for its end: then nobody waits for another attempt.
        is_retried: Whether the failure may pass.
    """
    if not is_retried:
        return TaskState.FAILED
    if cancel_requested:
        return TaskState.CANCELLED
    return TaskState.QUEUED if attempt < max_attempts else TaskState.FAILED


def check_size(name: str, value: Any, limit_bytes: int) -> None:
    """Refuses what is no JSON, or too much of it.

    Args:
        name: What it is, for the message.
        value: The value.
        limit_bytes: How long its JSON may be, in bytes of UTF-8 with all other characters escaped, as it is stored.

    Raises:
        ValueError: It is longer, or has a number that JSON does not.
        TypeError: It is no JSON.
    """
    size = len(json.dumps(value, separators=(",", ":"), allow_nan=False))
    if size > limit_bytes:
        raise ValueError(f"{name} has {size} bytes as JSON; at most {limit_bytes} are allowed")
