"""How an operator begins work of the mesh once, waits for it, and ends it."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import mlmesh
from airflow.configuration import conf
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from mlmesh.errors import MeshError

from mlmesh_airflow.hook import DEFAULT_CONNECTION, MlmeshHook
from mlmesh_airflow.outages import PASSING
from mlmesh_airflow.request_ids import request_id
from mlmesh_airflow.waiting_trigger import WaitingTrigger
from mlmesh_airflow.works import Work

if TYPE_CHECKING:
    from airflow.sdk import Context

_OUTAGE_PAUSE_S = 5.0
# Airflow kills a task that does not end soon after it was told to.
_LONGEST_CANCEL_S = 10.0


class WaitingOperator(BaseOperator):
    """Begins work and waits for its end.

    A retry goes on with the work of the try before it; it begins anew only where that one has failed or was cancelled. So a worker that is
    lost does not have the work done twice, within the 24 hours that the mesh remembers requests. Clearing the task has it done anew.

    Args:
        project: Project; empty = `default`.
        mlmesh_conn_id: Identifier of the connection to the mesh.
        wait_for_completion: Whether the task ends with the work; else once the mesh has accepted it, for a sensor.
        deferrable: Whether the triggerer waits instead of the worker; by default what `[operators] default_deferrable` says.
        longest_pause_s: Longest pause between two looks of the triggerer, in seconds.
        arguments: Those of every operator.
    """

    work: ClassVar[Work]
    trigger: ClassVar[type[WaitingTrigger]]

    ui_color = "#d5e8f5"

    def __init__(
        self,
        *,
        project: str = "",
        mlmesh_conn_id: str = DEFAULT_CONNECTION,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        longest_pause_s: float = 30.0,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.project = project
        self.mlmesh_conn_id = mlmesh_conn_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.longest_pause_s = longest_pause_s
        self._hook: MlmeshHook | None = None
        self._identifier = ""

    @abstractmethod
    def begin(self, mesh: mlmesh.Mesh, context: Context, identifier: str) -> Any:
        """Has the mesh begin the work.

        Args:
            mesh: The mesh.
            context: Of the task.
            identifier: Of the request, which the mesh answers once.
        """

    def execute(self, context: Context) -> dict[str, Any]:
        """Begins the work, or finds that of the try before, and waits for it."""
        self._hook = MlmeshHook(self.mlmesh_conn_id)
        try:
            with self._hook.get_conn() as mesh:
                begun = self._begun(mesh, context)
                self.log.info("The %s %s is %s", self.work.name, begun.id, begun.state)
                if not self.wait_for_completion:
                    return self.work.outcome_of(begun)
                if not self.deferrable:
                    begun = self._ended(mesh, begun.id)
        except MeshError as error:
            raise AirflowException(str(error)) from error
        if begun.is_done:
            return self._finished(self.work.outcome_of(begun))
        trigger = self.trigger(
            **{self.trigger.identified_by: begun.id},
            mlmesh_conn_id=self.mlmesh_conn_id,
            project=self.project,
            longest_pause_s=self.longest_pause_s,
            is_owner=True,
        )
        raise TaskDeferred(trigger=trigger, method_name=self.execute_complete.__name__, timeout=self.execution_timeout)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Goes on once the triggerer has seen the end."""
        if refusal := event.get("refusal"):
            raise AirflowException(refusal)
        return self._finished(event["outcome"])

    def on_kill(self) -> None:
        """Cancels the work."""
        # It runs in a signal handler, in the midst of whatever the task was doing: a connection and a thread of its own do not wait for
        # locks that the task may hold.
        if self._hook is not None and self._identifier:
            thread = threading.Thread(target=self._cancel, args=(self._hook, self._identifier), daemon=True)
            thread.start()
            thread.join(_LONGEST_CANCEL_S)

    def _begun(self, mesh: mlmesh.Mesh, context: Context) -> Any:
        task = context["ti"]
        # No more can have been begun than there were tries.
        for attempt in range(task.try_number - 1):
            begun = self._accepted(mesh, context, attempt)
            # The answer to a repeated request is the first one: long ago.
            begun = self.work.get(mesh, begun.id, self.project)
            if begun.state == "cancelling":
                begun = self._ended(mesh, begun.id)
            if not begun.is_done or begun.is_successful:
                return begun
            self.log.info("An earlier try was in vain: %s", self.work.failure_of(self.work.outcome_of(begun)))
        return self._accepted(mesh, context, task.try_number - 1)

    def _accepted(self, mesh: mlmesh.Mesh, context: Context, attempt: int) -> Any:
        begun = self.begin(mesh, context, request_id(context["ti"], attempt))
        self._identifier = begun.id
        return begun

    def _ended(self, mesh: mlmesh.Mesh, identifier: str) -> Any:
        while True:
            try:
                return self.work.wait(mesh, identifier, self.project)
            except self.work.failed as error:
                return self.work.ended(error)
            except PASSING as error:
                self.log.warning("The mesh does not tell of %s %s at the moment: %s", self.work.name, identifier, error)
                time.sleep(_OUTAGE_PAUSE_S)

    def _finished(self, outcome: dict[str, Any]) -> dict[str, Any]:
        if failure := self.work.failure_of(outcome):
            raise AirflowException(failure)
        self.log.info("The %s has succeeded: %s", self.work.name, outcome)
        return outcome

    def _cancel(self, hook: MlmeshHook, identifier: str) -> None:
        try:
            with hook.get_conn() as mesh:
                cancelled = self.work.cancel(mesh, identifier, self.project)
            self.log.info("The %s %s is %s", self.work.name, identifier, cancelled.state)
        except MeshError:
            self.log.exception("The %s %s may go on", self.work.name, identifier)
