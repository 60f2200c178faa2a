"""Subscriptions from the request on: what outlives it, how they are stopped, and how they go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection, Engine

from servers.ingestion.data_process import DataProcesses
from servers.ingestion.store.subscriptions import Subscriptions
from servers.ingestion.subscriptions.clusters import properties_of
from servers.ingestion.subscriptions.errors import KafkaMessagesLost, SubscriptionNotFound
from servers.ingestion.subscriptions.records import NewSubscription, State, Subscription
from servers.ingestion.subscriptions.tasks import new_task
from servers.ingestion.waiting import WaitingCalls
from servers.runtime.effects import made_before
from servers.runtime.paging import Listing
from servers.runtime.work import TaskTable
from sql_engine import write

_LOOKS = 200
_LOOK_S = 0.05


class Subscribing:
    """Makes subscriptions, stops them, and lets them go on.

    Args:
        engine: The component's database.
        tasks: Its tasks.
        subscriptions: What is known of them.
        processes: Where what is wanted is checked.
        clusters: The Kafkas there are.
        make_id: Makes identifiers of tasks.
        waiting: Calls that wait.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: TaskTable,
        subscriptions: Subscriptions,
        processes: DataProcesses,
        clusters: Mapping[str, Mapping[str, SecretStr]],
        make_id: Callable[[], str],
        waiting: WaitingCalls,
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._subscriptions = subscriptions
        self._processes = processes
        self._clusters = clusters
        self._make_id = make_id
        self._waiting = waiting

    def create(self, new: NewSubscription, check: Callable[[], None]) -> Subscription:
        """Keeps what is wanted; a worker does it from now on, whatever becomes of this process.

        Args:
            new: What is wanted.
            check: Called now and then.

        Raises:
            KafkaClusterUnknown: The settings have no such Kafka.
            SubscriptionExists: The project has one of this name.
            ConsumerGroupTaken: Another one reads with the consumer group.
            OperationFailed: It could write nothing, whatever messages come.
        """
        before = made_before(lambda _task_id: self._subscriptions.get(new.project, new.name), SubscriptionNotFound)
        if before is not None and before.task_id == new.task_id:
            return before
        properties_of(self._clusters, new.cluster)
        wanted = {name: new.request[name] for name in ("payload", "keys", "contract")}
        self._processes.run("check_subscription", {**wanted, "mode": new.mode}, check=check)

        def keep(connection: Connection) -> None:
            self._subscriptions.add(connection, new)
            self._tasks.enqueue(connection, new_task(new.task_id, new.project, new.dataset))

        write(self._engine, keep)
        return self._subscriptions.get(new.project, new.name)

    def get(self, project: str, name: str) -> Subscription:
        """Returns a subscription as it stands.

        Raises:
            SubscriptionNotFound: The project has none of this name.
        """
        return self._subscriptions.get(project, name)

    def page(self, project: str, listing: Listing) -> tuple[list[Subscription], str]:
        """Returns a page of a project's subscriptions, and the token of the next one."""
        return self._subscriptions.page(project, listing)

    def pause(self, project: str, name: str, wait: Callable[[float], bool]) -> Subscription:
        """Stops a subscription, and returns once nobody works on it, or it takes too long.

        Args:
            project: Its project.
            name: Its name.
            wait: Waits for some seconds; says whether anybody still waits for the answer.

        Raises:
            SubscriptionNotFound: The project has none of this name.
        """
        while True:
            found = self._subscriptions.get(project, name)
            if found.state is State.PAUSED or self._changed(found, State.PAUSED, ends=True):
                break
        self._wait_for_end(found.task_id, wait)
        return self._subscriptions.get(project, name)

    def resume(self, project: str, name: str) -> Subscription:
        """Lets a subscription go on.

        Raises:
            SubscriptionNotFound: The project has none of this name.
            KafkaClusterUnknown: The settings do not have its Kafka any more.
        """
        while True:
            found = self._subscriptions.get(project, name)
            if found.state is State.ACTIVE:
                return found
            properties_of(self._clusters, found.cluster)
            # Who was told that messages are gone, and goes on, wants to do without.
            accepts_loss = found.state is State.FAILED and (found.error or {}).get("reason") == KafkaMessagesLost.reason
            accepts_loss = accepts_loss or found.accepts_loss
            if self._changed(found, State.ACTIVE, task_id=self._make_id(), error=None, failures=0, accepts_loss=accepts_loss):
                return self._subscriptions.get(project, name)

    def delete(self, project: str, name: str, wait: Callable[[float], bool]) -> None:
        """Ends a subscription, and returns once nobody works on it, or it takes too long.

        Args:
            project: Its project.
            name: Its name.
            wait: Waits for some seconds; says whether anybody still waits for the answer.

        Raises:
            SubscriptionNotFound: The project has none of this name.
        """

        def remove(connection: Connection) -> str:
            task_id = self._subscriptions.remove(connection, project, name)
            self._tasks.cancel(task_id, connection=connection)
            return task_id

        self._wait_for_end(write(self._engine, remove), wait)

    def _changed(self, found: Subscription, state: State, *, ends: bool = False, **values: Any) -> bool:
        def change(connection: Connection) -> bool:
            if not self._subscriptions.change_state(connection, found, state, **values):
                return False
            if ends:
                self._tasks.cancel(found.task_id, connection=connection)
            else:
                self._tasks.enqueue(connection, new_task(values["task_id"], found.project, found.dataset))
            return True

        return write(self._engine, change)

    def _wait_for_end(self, task_id: str, wait: Callable[[float], bool]) -> None:
        with self._waiting.place() as may_wait:
            for _ in range(_LOOKS if may_wait else 0):
                task = self._tasks.get(task_id)
                if task is None or task.state.is_terminal or not wait(_LOOK_S):
                    return
