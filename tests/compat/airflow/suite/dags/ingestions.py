"""The DAGs of the suite. What they take in is said when they are run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task
from mlmesh_airflow import IngestDataOperator, IngestionSensor


class LosesItsWorker(IngestDataOperator):
    """Breaks off after the mesh has taken the data, and before Airflow knows of it; in its first try only."""

    def execute(self, context: Any) -> dict[str, Any]:
        outcome = super().execute(context)
        if context["ti"].try_number == 1:
            raise RuntimeError("the worker is lost")
        return outcome


def said(name: str, default: str = "''") -> str:
    return f"{{{{ dag_run.conf.get('{name}', {default}) }}}}"


WHAT = {
    "dataset": said("dataset"),
    "source": said("source"),
    "mode": said("mode", "'append'"),
    "keys": said("keys", "[]"),
    "read": said("read", "{}"),
    "schema_contract": said("schema_contract", "{}"),
    "gate": said("gate", "{}"),
}
INGESTION = "{{ ti.xcom_pull(task_ids='take_in')['ingestion_id'] }}"
KINDS = {"waiting": False, "deferring": True}


def dag(name: str) -> DAG:
    return DAG(name, schedule=None, start_date=datetime(2026, 1, 1), render_template_as_native_obj=True, is_paused_upon_creation=False)


@task
def tell(outcome: dict[str, Any]) -> int:
    return outcome["rows_added"]


DAGS: dict[str, DAG] = {}
for kind, is_deferrable in KINDS.items():
    with dag(f"{kind}_operator") as one:
        take_in = IngestDataOperator(task_id="take_in", deferrable=is_deferrable, longest_pause_s=0.5, **WHAT)
        tell(take_in.output)
    DAGS[one.dag_id] = one

    with dag(f"{kind}_sensor") as one:
        begin = IngestDataOperator(task_id="take_in", wait_for_completion=False, **WHAT)
        begin >> IngestionSensor(task_id="sense", ingestion_id=INGESTION, deferrable=is_deferrable, poke_interval=0.5, timeout=150)
    DAGS[one.dag_id] = one

    with dag(f"{kind}_stranger") as one:
        IngestionSensor(task_id="sense", ingestion_id=said("ingestion_id"), deferrable=is_deferrable, poke_interval=0.2, timeout=150)
    DAGS[one.dag_id] = one

    with dag(f"{kind}_retry") as one:
        IngestDataOperator(task_id="take_in", deferrable=is_deferrable, retries=1, retry_delay=timedelta(0), longest_pause_s=0.5, **WHAT)
    DAGS[one.dag_id] = one

with dag("crash") as one:
    LosesItsWorker(task_id="take_in", retries=1, retry_delay=timedelta(0), **WHAT)
DAGS[one.dag_id] = one

with dag("mapped") as one:
    IngestDataOperator.partial(task_id="take_in", dataset=said("dataset")).expand(source=[[{"id": 1}], [{"id": 2}], [{"id": 2}]])
DAGS[one.dag_id] = one
