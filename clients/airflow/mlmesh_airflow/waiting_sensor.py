"""How a sensor waits for work of the mesh that something else began."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.configuration import conf
from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from mlmesh.errors import MeshError

from mlmesh_airflow.hook import DEFAULT_CONNECTION, MlmeshHook
from mlmesh_airflow.outages import PASSING
from mlmesh_airflow.waiting_trigger import WaitingTrigger
from mlmesh_airflow.works import Work

if TYPE_CHECKING:
    from airflow.sdk import Context


class WaitingSensor(BaseSensorOperator):
    """Waits until work has succeeded.

    Args:
        project: Its project; empty = `default`.
        mlmesh_conn_id: Identifier of the connection to the mesh.
        deferrable: Whether the triggerer waits instead of the worker; by default what `[operators] default_deferrable` says.
        arguments: Those of every sensor; `poke_interval` is the longest pause between two looks of the triggerer too.
    """

    work: ClassVar[Work]
    trigger: ClassVar[type[WaitingTrigger]]

    ui_color = "#d5e8f5"

    def __init__(
        self,
        *,
        project: str = "",
        mlmesh_conn_id: str = DEFAULT_CONNECTION,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.project = project
        self.mlmesh_conn_id = mlmesh_conn_id
        self.deferrable = deferrable

    @property
    def identifier(self) -> str:
        """Identifier of the work."""
        return str(getattr(self, self.trigger.identified_by))

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002 - Airflow's signature
        """Looks once."""
        try:
            with MlmeshHook(self.mlmesh_conn_id).get_conn() as mesh:
                seen = self.work.get(mesh, self.identifier, self.project)
        except PASSING as error:
            self.log.warning("The mesh does not tell of %s %s at the moment: %s", self.work.name, self.identifier, error)
            return PokeReturnValue(is_done=False)
        except MeshError as error:
            raise AirflowException(str(error)) from error
        self.log.info("The %s %s is %s", self.work.name, seen.id, seen.state)
        if not seen.is_done:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self._succeeded(self.work.outcome_of(seen)))

    def execute(self, context: Context) -> Any:
        """Waits, here or in the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        trigger = self.trigger(
            **{self.trigger.identified_by: self.identifier},
            mlmesh_conn_id=self.mlmesh_conn_id,
            project=self.project,
            longest_pause_s=self.poke_interval,
        )
        raise TaskDeferred(trigger=trigger, method_name=self.execute_complete.__name__, timeout=timedelta(seconds=self.timeout))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Goes on once the triggerer has seen the end."""
        if refusal := event.get("refusal"):
            raise AirflowException(refusal)
        return self._succeeded(event["outcome"])

    def _succeeded(self, outcome: dict[str, Any]) -> dict[str, Any]:
        if failure := self.work.failure_of(outcome):
            raise AirflowFailException(failure)
        return outcome
