"""The operator that runs a processing job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mlmesh

from mlmesh_airflow.processing_trigger import ProcessingJobTrigger
from mlmesh_airflow.templates import Templates
from mlmesh_airflow.waiting_operator import WaitingOperator
from mlmesh_airflow.works import PROCESSING_JOB

if TYPE_CHECKING:
    from airflow.sdk import Context
    from mlmesh.plan import Relation
    from mlmesh.processing_jobs import ProcessingJob


class ProcessingJobOperator(WaitingOperator):
    """Runs a processing job and waits until its outputs are written.

    A retry goes on with the job of the try before it; it begins a new one only where that one has failed or was cancelled. So a worker that
    is lost does not have the rows written twice, within the 24 hours that the mesh remembers requests. Clearing the task has the work
    done anew.

    Args:
        inputs: Datasets by the name by which the plan reads them: `"flights"`, or `("flights", 3)` for a version.
        outputs: Relations, as `mlmesh.plan` makes them, or `mlmesh.JobOutput`s by the dataset that they are written to. With `sql` the name
            of the dataset is enough. Templates in names and in expressions of relations are rendered, those in Python functions are not.
        sql: One SELECT over the inputs, or a file that ends in `.sql`, instead of relations.
        engine: What runs it: `local`, `ray`, `dask` or `spark`.
        job_resources: What it may use, as `mlmesh.JobResources` has it: `{"memory_mib": 2048}`.
        priority: Which of the jobs that wait begins first.
        max_attempts: Attempts of the mesh itself, where one fails for a reason that may pass; 0 = 3.
        display_name: Name of the job; empty = DAG and task.
        labels: Labels of the job.
        arguments: Those of every `WaitingOperator`: `project`, `mlmesh_conn_id`, `wait_for_completion`, `deferrable`, `longest_pause_s`;
            and of every operator.

    Returns:
        As XCom: `job_id`, `state`, `inputs` and `outputs` with their datasets and versions, and more.

    Raises:
        AirflowException: The mesh refuses it, or the job fails or is cancelled; the message has the reason.
    """

    work = PROCESSING_JOB
    trigger = ProcessingJobTrigger

    template_fields: Sequence[str] = (
        *("inputs", "outputs", "sql", "engine", "job_resources", "display_name", "labels", "project", "mlmesh_conn_id"),
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql"}  # noqa: RUF012 - Airflow's own way

    def __init__(
        self,
        *,
        inputs: Mapping[str, Any],
        outputs: str | Mapping[str, Relation | mlmesh.JobOutput],
        sql: str = "",
        engine: str = "local",
        job_resources: Mapping[str, Any] | None = None,
        priority: int = 0,
        max_attempts: int = 0,
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.inputs = inputs
        self.outputs = outputs
        self.sql = sql
        self.engine = engine
        self.job_resources = job_resources
        self.priority = priority
        self.max_attempts = max_attempts
        self.display_name = display_name
        self.labels = labels

    def begin(self, mesh: mlmesh.Mesh, context: Context, identifier: str) -> ProcessingJob:
        """Has the mesh take the job."""
        templates = Templates(context, self.get_template_env(self.dag).filters)
        outputs = self.outputs
        spec = mlmesh.JobSpec(
            # What comes as JSON has lists, and no tuples.
            inputs={name: tuple(given) if isinstance(given, list) else given for name, given in self.inputs.items()},
            outputs=outputs if isinstance(outputs, str) else {templates.text(dataset): rows for dataset, rows in outputs.items()},
            sql=self.sql,
            engine=self.engine,
            resources=mlmesh.JobResources(**self.job_resources) if self.job_resources else None,
            priority=self.priority,
            max_attempts=self.max_attempts,
        )
        return mesh.processing.create_processing_job(
            templates.spec(spec),
            display_name=self.display_name or f"{self.dag_id}.{self.task_id}",
            labels=self.labels,
            project=self.project,
            request_id=identifier,
        )
