"""Waits in the triggerer, where waiting takes no worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent
from mlmesh.errors import MeshError

from mlmesh_airflow.hook import DEFAULT_CONNECTION, MlmeshHook
from mlmesh_airflow.outages import PASSING
from mlmesh_airflow.works import Work

_FIRST_PAUSE_S = 0.5
_GROWTH = 1.5
# What takes an hour is in no hurry, and thousands may be waited for.
LONGEST_PAUSE_S = 30.0


class WaitingTrigger(BaseTrigger):
    """Fires once some work has ended, however it ended: `{"outcome": …}`, or `{"refusal": "…"}` where the mesh does not tell.

    It keeps nothing but what it is made of, so another triggerer can go on with it; the API key is read where it runs.

    Args:
        identifier: Of the work.
        mlmesh_conn_id: Identifier of the connection to the mesh.
        project: Its project; empty = `default`.
        longest_pause_s: Longest pause between two looks, in seconds; the first ones are shorter.
        is_owner: Whether the work is the task's own, and is cancelled when somebody ends the task.
    """

    work: ClassVar[Work]
    identified_by: ClassVar[str]
    """The argument of the trigger that is the identifier of the work."""

    def __init__(
        self,
        identifier: str,
        *,
        mlmesh_conn_id: str = DEFAULT_CONNECTION,
        project: str = "",
        longest_pause_s: float = LONGEST_PAUSE_S,
        is_owner: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.identifier = identifier
        self.mlmesh_conn_id = mlmesh_conn_id
        self.project = project
        self.longest_pause_s = longest_pause_s
        self.is_owner = is_owner

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Returns what it is made of."""
        names = ("mlmesh_conn_id", "project", "longest_pause_s", "is_owner")
        path = f"{type(self).__module__}.{type(self).__name__}"
        return path, {self.identified_by: self.identifier, **{name: getattr(self, name) for name in names}}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks at the work until it has ended."""
        try:
            yield _event(outcome=self.work.outcome_of(await self._ended()))
        except (MeshError, ValueError) as error:
            yield _event(refusal=str(error))

    async def on_kill(self) -> None:
        """Cancels the task's own work when somebody clears the deferred task, or marks it."""
        if self.is_owner:
            async with await MlmeshHook(self.mlmesh_conn_id).get_async_conn() as mesh:
                await self.work.cancel(mesh, self.identifier, self.project)
            self.log.info("Cancelled %s %s", self.work.name, self.identifier)

    async def _ended(self) -> Any:
        pause_s = min(_FIRST_PAUSE_S, self.longest_pause_s)
        self.log.info("Waiting for %s %s", self.work.name, self.identifier)
        async with await MlmeshHook(self.mlmesh_conn_id).get_async_conn() as mesh:
            while True:
                try:
                    seen = await _told(self.work.get(mesh, self.identifier, self.project))
                except PASSING as error:
                    self.log.warning("The mesh does not tell of %s %s at the moment: %s", self.work.name, self.identifier, error)
                else:
                    if seen.is_done:
                        return seen
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * _GROWTH, self.longest_pause_s)


async def _told(look: Coroutine[Any, Any, Any]) -> Any:
    """Returns what a look brings.

    By the message of a cancellation Airflow knows that a person ends the task; where gRPC is awaited, it raises one without.
    """
    looking = asyncio.ensure_future(look)
    try:
        await asyncio.wait({looking})
    finally:
        looking.cancel()
    return looking.result()


def _event(**payload: Any) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]
