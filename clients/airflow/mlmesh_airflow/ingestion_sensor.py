"""The sensor that waits for an ingestion that something else began."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from mlmesh.errors import MeshError

from mlmesh_airflow.hook import DEFAULT_CONNECTION, MlmeshHook
from mlmesh_airflow.ingestion_outcome import failure_of, outcome_of
from mlmesh_airflow.ingestion_trigger import IngestionTrigger
from mlmesh_airflow.outages import PASSING

if TYPE_CHECKING:
    from airflow.sdk import Context


class IngestionSensor(BaseSensorOperator):
    """Waits until an ingestion has succeeded.

    Args:
        ingestion_id: The ingestion.
        project: Its project; empty = `default`.
        mlmesh_conn_id: Identifier of the connection to the mesh.
        deferrable: Whether the triggerer waits instead of the worker; by default what `[operators] default_deferrable` says.
        arguments: Those of every sensor; `poke_interval` is the longest pause between two looks of the triggerer too.

    Returns:
        As XCom what `IngestDataOperator` returns.

    Raises:
        AirflowFailException: The ingestion failed or was cancelled, which no retry of the sensor would change.
        AirflowException: The mesh refuses to tell.
    """

    template_fields: Sequence[str] = ("ingestion_id", "project", "mlmesh_conn_id")
    ui_color = "#d5e8f5"

    def __init__(
        self,
        *,
        ingestion_id: str,
        project: str = "",
        mlmesh_conn_id: str = DEFAULT_CONNECTION,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.ingestion_id = ingestion_id
        self.project = project
        self.mlmesh_conn_id = mlmesh_conn_id
        self.deferrable = deferrable

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002 - Airflow's signature
        """Looks once."""
        try:
            with MlmeshHook(self.mlmesh_conn_id).get_conn() as mesh:
                ingestion = mesh.ingestion.get_ingestion(self.ingestion_id, project=self.project)
        except PASSING as error:
            self.log.warning("The mesh does not tell of ingestion %s at the moment: %s", self.ingestion_id, error)
            return PokeReturnValue(is_done=False)
        except MeshError as error:
            raise AirflowException(str(error)) from error
        self.log.info("Ingestion %s is %s", ingestion.id, ingestion.state)
        if not ingestion.is_done:
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=_succeeded(outcome_of(ingestion)))

    def execute(self, context: Context) -> Any:
        """Waits, here or in the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        trigger = IngestionTrigger(
            ingestion_id=self.ingestion_id,
            mlmesh_conn_id=self.mlmesh_conn_id,
            project=self.project,
            longest_pause_s=self.poke_interval,
        )
        raise TaskDeferred(trigger=trigger, method_name=self.execute_complete.__name__, timeout=timedelta(seconds=self.timeout))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - Airflow's signature
        """Goes on once the triggerer has seen the end."""
        if refusal := event.get("refusal"):
            raise AirflowException(refusal)
        return _succeeded(event["outcome"])


def _succeeded(outcome: dict[str, Any]) -> dict[str, Any]:
    if failure := failure_of(outcome):
        raise AirflowFailException(failure)
    return outcome
