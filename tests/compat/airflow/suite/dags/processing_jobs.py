"""The DAGs of the suite that compute. What they read and write is said when they are run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG
from ingestions import KINDS, dag, said
from mlmesh import plan
from mlmesh_airflow import ProcessingJobOperator, ProcessingJobSensor


class LosesItsWorker(ProcessingJobOperator):
    """Breaks off after the mesh has taken the job, and before Airflow knows of it; in its first try only."""

    def execute(self, context: Any) -> dict[str, Any]:
        outcome = super().execute(context)
        if context["ti"].try_number == 1:
            raise RuntimeError("the worker is lost")
        return outcome


def when_there(batch: Any) -> Any:
    """Waits until the file is there that the rows name."""
    import time
    from pathlib import Path

    while not Path(batch.column("until")[0].as_py()).exists():
        time.sleep(0.05)
    return batch


ROWS = plan.scan("rows")
LATE = ROWS.filter("{{ dag_run.conf.get('condition', 'true') }}").with_columns(text="'{{ \"1\" | upper }}'")
HELD = ROWS.select("id", "until").map_batches(when_there, schema={"id": "BIGINT", "until": "VARCHAR"})
WHAT: dict[str, Any] = {"inputs": {"rows": said("dataset")}, "labels": {"run": "{{ run_id }}"}}
OUTPUT = "{{ dag_run.conf['dataset'] }}_late"
JOB = "{{ ti.xcom_pull(task_ids='compute')['job_id'] }}"

PROCESSING_DAGS: dict[str, DAG] = {}
for kind, is_deferrable in KINDS.items():
    waiting: dict[str, Any] = {"deferrable": is_deferrable, "longest_pause_s": 0.5}
    with dag(f"{kind}_job") as one:
        ProcessingJobOperator(task_id="compute", outputs={OUTPUT: LATE}, **WHAT, **waiting)
    PROCESSING_DAGS[one.dag_id] = one

    with dag(f"{kind}_job_sensor") as one:
        begin = ProcessingJobOperator(task_id="compute", outputs={OUTPUT: LATE}, wait_for_completion=False, **WHAT)
        begin >> ProcessingJobSensor(task_id="sense", job_id=JOB, deferrable=is_deferrable, poke_interval=0.5, timeout=150)
    PROCESSING_DAGS[one.dag_id] = one

with dag("select") as one:
    ProcessingJobOperator(
        task_id="compute",
        sql="SELECT {{ dag_run.conf['columns'] }} FROM rows",
        outputs=OUTPUT,
        job_resources={"memory_mib": 512},
        display_name="a select",
        **WHAT,
    )
PROCESSING_DAGS[one.dag_id] = one

with dag("job_crash") as one:
    LosesItsWorker(task_id="compute", outputs={OUTPUT: LATE}, retries=1, retry_delay=timedelta(0), **WHAT)
PROCESSING_DAGS[one.dag_id] = one

with dag("deferring_held_job") as one:
    ProcessingJobOperator(task_id="take_in", outputs={OUTPUT: HELD}, deferrable=True, longest_pause_s=0.5, **WHAT)
PROCESSING_DAGS[one.dag_id] = one

with dag("waiting_held_job") as one:
    ProcessingJobOperator(task_id="take_in", outputs={OUTPUT: HELD}, **WHAT)
PROCESSING_DAGS[one.dag_id] = one
