"""Subscriptions: what was asked for, how far they are, and what stopped them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, delete, insert, select, update

from aip_filter import Field, Schema
from servers.ingestion.store.tables import subscriptions
from servers.ingestion.subscriptions.errors import ConsumerGroupTaken, SubscriptionExists, SubscriptionNotFound
from servers.ingestion.subscriptions.records import NewSubscription, State, Subscription
from servers.runtime.pages import Collection, read_page
from servers.runtime.paging import Listing
from servers.runtime.work import Task, TaskState
from servers.runtime.work.task_rows import tasks

_WAITS_FROM = timedelta(seconds=3)
"""For how long work that could begin may wait as a matter of course."""

_SOURCE = subscriptions.outerjoin(tasks, tasks.c.task_id == subscriptions.c.task_id)
_COLUMNS = (*subscriptions.c, tasks.c.state.label("task_state"), tasks.c.not_before.label("task_not_before"))


class Subscriptions:
    """The subscriptions of all projects. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database, from `open_store`.
        most_rejected: Rejected messages that are kept of each, the last ones.
        clock: The time now.
    """

    def __init__(self, engine: Engine, most_rejected: int, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._engine = engine
        self._most_rejected = most_rejected
        self._clock = clock

    def add(self, connection: Connection, new: NewSubscription) -> None:
        """Adds a subscription. Its task has to be enqueued in the same transaction.

        Raises:
            SubscriptionExists: The project has one of this name.
            ConsumerGroupTaken: Another one reads with the consumer group.
        """
        if connection.execute(select(subscriptions.c.name).where(_is(new.project, new.name))).first() is not None:
            raise SubscriptionExists(new.project, new.name)
        same_group = and_(subscriptions.c.cluster == new.cluster, subscriptions.c.consumer_group == new.group)
        if connection.execute(select(subscriptions.c.name).where(same_group)).first() is not None:
            raise ConsumerGroupTaken(new.cluster, new.group)
        # Where somebody was faster in between, the transaction runs again, and says which of both it is.
        connection.execute(insert(subscriptions).values(_new_row(new)))

    def get(self, project: str, name: str) -> Subscription:
        """Returns a subscription as it stands.

        Raises:
            SubscriptionNotFound: The project has none of this name.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(*_COLUMNS).select_from(_SOURCE).where(_is(project, name))).mappings().one_or_none()
        if row is None:
            raise SubscriptionNotFound(project, name)
        return self._subscription(row)

    def of_task(self, task_id: str) -> Subscription | None:
        """Returns the subscription that a task works on; None where that is no longer wanted."""
        is_wanted = and_(subscriptions.c.task_id == task_id, subscriptions.c.state == State.ACTIVE)
        with self._engine.connect() as connection:
            row = connection.execute(select(*_COLUMNS).select_from(_SOURCE).where(is_wanted)).mappings().one_or_none()
        return None if row is None else self._subscription(row)

    def page(self, project: str, listing: Listing) -> tuple[list[Subscription], str]:
        """Returns a page of a project's subscriptions, by name unless ordered otherwise, and the token of the next page.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            return read_page(connection, self._list, listing, subscriptions.c.project == project, scope=project)

    def active_into(self, project: str, dataset: str) -> str | None:
        """Returns the name of a subscription that writes to a dataset; None where none does."""
        writing = and_(subscriptions.c.project == project, subscriptions.c.dataset == dataset, subscriptions.c.state == State.ACTIVE)
        with self._engine.connect() as connection:
            return connection.execute(select(subscriptions.c.name).where(writing).limit(1)).scalar_one_or_none()

    def change_state(self, connection: Connection, before: Subscription, state: State, **values: Any) -> bool:
        """Brings a subscription into another state, unless somebody else just did.

        Returns:
            Whether it did.
        """
        unchanged = and_(_is(before.project, before.name), subscriptions.c.state == before.state, subscriptions.c.task_id == before.task_id)
        changed = update(subscriptions).where(unchanged).values(state=state, update_time=self._clock(), **values)
        return connection.execute(changed).rowcount == 1

    def remove(self, connection: Connection, project: str, name: str) -> str:
        """Removes a subscription, and returns the id of its task, whoever has just made it active.

        Raises:
            SubscriptionNotFound: The project has none of this name.
        """
        found = select(subscriptions.c.task_id).where(_is(project, name)).with_for_update()
        task_id: str | None = connection.execute(found).scalar_one_or_none()
        if task_id is None:
            raise SubscriptionNotFound(project, name)
        connection.execute(delete(subscriptions).where(_is(project, name)))
        return task_id

    def record(self, connection: Connection, task_id: str, told: Mapping[str, Any]) -> None:
        """Takes over what the work tells, where it is the work that is wanted, or was until the subscription was paused.

        Args:
            connection: Within the transaction.
            task_id: Of the work.
            told: As the operation `consume` tells it.
        """
        at_work = and_(subscriptions.c.task_id == task_id, subscriptions.c.state.in_((State.ACTIVE, State.PAUSED)))
        found = select(subscriptions.c.positions, subscriptions.c.rejected).where(at_work).with_for_update()
        row = connection.execute(found).one_or_none()
        if row is None:
            return
        values: dict[str, Any] = {
            "positions": _merged(row.positions, told),
            "rows_written": subscriptions.c.rows_written + told["rows_written"],
            "rows_rejected": subscriptions.c.rows_rejected + told["rows_rejected"],
            "update_time": self._clock(),
        }
        if not told.keys() & {"is_started", "assigned", "error"}:
            # It has come further than to where it may fail each time.
            values["failures"] = 0
        if told["rejected"]:
            values["rejected"] = [*row.rejected, *told["rejected"]][-self._most_rejected :] if self._most_rejected else []
        if told["version"] is not None:
            values["version"] = told["version"]
        if told.get("is_started"):
            values["is_started"] = True
        if told.get("assigned"):
            values["accepts_loss"] = False
        if "error" in told:
            values["error"] = told["error"]
        connection.execute(update(subscriptions).where(at_work).values(values))

    def record_failure(self, connection: Connection, task_id: str, error: Mapping[str, Any], *, is_final: bool) -> None:
        """Notes why work failed.

        Args:
            connection: Within the transaction.
            task_id: Of the work.
            error: Facts of the error.
            is_final: Whether the subscription stops there.
        """
        at_work = and_(subscriptions.c.task_id == task_id, subscriptions.c.state == State.ACTIVE)
        values: dict[str, Any] = {"error": dict(error), "failures": subscriptions.c.failures + 1, "update_time": self._clock()}
        if is_final:
            values["state"] = State.FAILED
        connection.execute(update(subscriptions).where(at_work).values(values))

    def end(self, connection: Connection, task: Task) -> None:
        """Stops a subscription whose work ended in a way that nobody foresaw: part of `on_end` of the `TaskTable`."""
        if task.state is TaskState.FAILED and task.error is not None:
            facts = {"code": "INTERNAL", "reason": task.error.reason, "message": task.error.message, "metadata": {}}
            self.record_failure(connection, task.task_id, facts, is_final=True)

    def _subscription(self, row: RowMapping) -> Subscription:
        values: dict[str, Any] = {column.name: row[column.name] for column in subscriptions.c}
        state = State(values["state"])
        is_queued = row["task_state"] == TaskState.QUEUED and row["task_not_before"] + _WAITS_FROM <= self._clock()
        values |= {
            "group": values.pop("consumer_group"),
            "state": state,
            "positions": tuple(tuple(entry) for entry in values["positions"]),
            "rejected": tuple(values["rejected"]),
            "is_waiting": state is State.ACTIVE and is_queued,
        }
        return Subscription(**values)

    @property
    def _list(self) -> Collection[Subscription]:
        return Collection(
            name="subscriptions",
            source=_SOURCE,
            columns=_COLUMNS,
            schema=Schema(
                {
                    "name": Field("string", subscriptions.c.name),
                    "dataset": Field("string", subscriptions.c.dataset),
                    "cluster": Field("string", subscriptions.c.cluster),
                    "state": Field("enum", subscriptions.c.state, values={state.value: state.value for state in State}),
                    "create_time": Field("timestamp", subscriptions.c.create_time),
                }
            ),
            order_fields={"name": subscriptions.c.name, "create_time": subscriptions.c.create_time},
            default_order="name",
            tie_breaker=subscriptions.c.name,
            read=self._subscription,
        )


def _is(project: str, name: str) -> ColumnElement[bool]:
    return and_(subscriptions.c.project == project, subscriptions.c.name == name)


def _new_row(new: NewSubscription) -> dict[str, Any]:
    return {
        "project": new.project,
        "name": new.name,
        "dataset": new.dataset,
        "cluster": new.cluster,
        "consumer_group": new.group,
        "mode": new.mode,
        "request": dict(new.request),
        "creator": new.creator,
        "create_time": new.create_time,
        "state": State.ACTIVE,
        "task_id": new.task_id,
        "is_started": False,
        "accepts_loss": False,
        "failures": 0,
        "positions": [],
        "rows_written": 0,
        "rows_rejected": 0,
        "rejected": [],
        "update_time": new.create_time,
    }


def _merged(positions: list[list[Any]], told: Mapping[str, Any]) -> list[list[Any]]:
    found = {(entry[0], entry[1]): entry for entry in positions}
    found |= {(entry[0], entry[1]): entry for entry in told["partitions"]}
    if "assigned" in told:
        # Another reader of the group has the others now, and knows better how far they are.
        assigned = {tuple(partition) for partition in told["assigned"]}
        found = {partition: entry for partition, entry in found.items() if partition in assigned}
    return [found[partition] for partition in sorted(found)]
