"""What is known of subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where a subscription is in its life."""

    ACTIVE = "ACTIVE"
    """Reading, or about to. Becomes PAUSED or FAILED."""
    PAUSED = "PAUSED"
    """Stopped on request. Becomes ACTIVE."""
    FAILED = "FAILED"
    """Stopped by an error. Becomes ACTIVE or PAUSED."""


@dataclass(frozen=True)
class NewSubscription:
    """Topics that somebody wants to have in a dataset.

    Args:
        project: Its project.
        name: Its name.
        dataset: The dataset.
        cluster: Name of the Kafka in the setting.
        group: Consumer group.
        mode: How rows are written: APPEND or UPSERT.
        request: What the worker needs to know beside these, as JSON: `topics`, `payload`, `keys`, `contract`, `unreadable`, `start` and
            `commit_interval_s`.
        creator: Who asked for it.
        create_time: When.
        task_id: Of the work.
    """

    project: str
    name: str
    dataset: str
    cluster: str
    group: str
    mode: str
    request: Mapping[str, Any]
    creator: str
    create_time: datetime
    task_id: str


@dataclass(frozen=True)
class Subscription:
    """Topics that are written into a dataset.

    Args:
        project: Its project.
        name: Its name.
        dataset: The dataset.
        cluster: Name of the Kafka in the setting.
        group: Consumer group.
        mode: How rows are written: APPEND or UPSERT.
        request: What the worker needs to know beside these, as JSON.
        creator: Who asked for it.
        create_time: When.
        task_id: Of the work since it became active last.
        state: Where it is in its life.
        is_started: Whether each partition that there was got its place.
        accepts_loss: Whether messages that Kafka has deleted are passed over, once.
        failures: How often work failed since it last told of something.
        error: Facts of the error that stopped it, or that is tried again; None where there is none.
        positions: By topic and partition: next offset, what the dataset has, end.
        rows_written: Rows written since it was created.
        rows_rejected: Messages and rows left out since then.
        rejected: The last of them.
        version: The newest version of the dataset that it wrote.
        update_time: When it last told of something.
        is_waiting: Whether it waits for others to end.
    """

    project: str
    name: str
    dataset: str
    cluster: str
    group: str
    mode: str
    request: Mapping[str, Any]
    creator: str
    create_time: datetime
    task_id: str
    state: State
    is_started: bool = False
    accepts_loss: bool = False
    failures: int = 0
    error: Mapping[str, Any] | None = None
    positions: tuple[tuple[str, int, int, int, int], ...] = ()
    rows_written: int = 0
    rows_rejected: int = 0
    rejected: tuple[Mapping[str, Any], ...] = ()
    version: int | None = None
    update_time: datetime = field(default=datetime.min)
    is_waiting: bool = False
