"""Waits for an ingestion in the triggerer, where waiting takes no worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from mlmesh.errors import MeshError

from mlmesh_airflow.hook import DEFAULT_CONNECTION, MlmeshHook
from mlmesh_airflow.ingestion_outcome import outcome_of
from mlmesh_airflow.outages import PASSING

if TYPE_CHECKING:
    from mlmesh.ingestions import Ingestion

_FIRST_PAUSE_S = 0.5
_GROWTH = 1.5
# An ingestion that takes an hour is in no hurry, and thousands may be waited for.
_LONGEST_PAUSE_S = 30.0


class IngestionTrigger(BaseTrigger):
    """Fires once an ingestion has ended, however it ended: `{"outcome": …}`, or `{"refusal": "…"}` where the mesh does not tell.

    It keeps nothing but what it is made of, so another triggerer can go on with it; the API key is read where it runs.

    Args:
        ingestion_id: The ingestion.
        mlmesh_conn_id: Identifier of the connection to the mesh.
        project: Its project; empty = `default`.
        longest_pause_s: Longest pause between two looks, in seconds; the first ones are shorter.
        is_owner: Whether the ingestion is the task's own, and is cancelled when somebody ends the task.
    """

    def __init__(
        self,
        *,
        ingestion_id: str,
        mlmesh_conn_id: str = DEFAULT_CONNECTION,
        project: str = "",
        longest_pause_s: float = _LONGEST_PAUSE_S,
        is_owner: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ingestion_id = ingestion_id
        self.mlmesh_conn_id = mlmesh_conn_id
        self.project = project
        self.longest_pause_s = longest_pause_s
        self.is_owner = is_owner

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Returns what it is made of."""
        names = ("ingestion_id", "mlmesh_conn_id", "project", "longest_pause_s", "is_owner")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks at the ingestion until it has ended."""
        try:
            yield _event(outcome=outcome_of(await self._ended()))
        except (MeshError, ValueError) as error:
            yield _event(refusal=str(error))

    async def on_kill(self) -> None:
        """Cancels the task's own ingestion when somebody clears the deferred task, or marks it."""
        if self.is_owner:
            async with await MlmeshHook(self.mlmesh_conn_id).get_async_conn() as mesh:
                await mesh.ingestion.cancel_ingestion(self.ingestion_id, project=self.project)
            self.log.info("Cancelled ingestion %s", self.ingestion_id)

    async def _ended(self) -> Ingestion:
        pause_s = min(_FIRST_PAUSE_S, self.longest_pause_s)
        self.log.info("Waiting for ingestion %s", self.ingestion_id)
        async with await MlmeshHook(self.mlmesh_conn_id).get_async_conn() as mesh:
            while True:
                try:
                    ingestion = await mesh.ingestion.get_ingestion(self.ingestion_id, project=self.project)
                except PASSING as error:
                    self.log.warning("The mesh does not tell of ingestion %s at the moment: %s", self.ingestion_id, error)
                else:
                    if ingestion.is_done:
                        return ingestion
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * _GROWTH, self.longest_pause_s)


def _event(**payload: Any) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]
