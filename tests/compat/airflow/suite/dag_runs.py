"""Runs of a DAG in this process, as `dag.test()` has them: with the real task runner, and the real triggers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingestions import DAGS
from processing_jobs import PROCESSING_DAGS


@dataclass(frozen=True)
class Run:
    """A DAG run that has ended.

    Args:
        states: State of each task.
        tries: Tries of each task.
        values: XCom of each task.
    """

    states: dict[str, str]
    tries: dict[str, int]
    values: dict[str, Any]


def run(dag_id: str, **conf: Any) -> Run:
    ended = {**DAGS, **PROCESSING_DAGS}[dag_id].test(run_conf=conf)
    tasks = ended.get_task_instances()
    name = {task: task.task_id if task.map_index < 0 else f"{task.task_id}[{task.map_index}]" for task in tasks}
    return Run(
        states={name[task]: str(task.state) for task in tasks},
        tries={name[task]: task.try_number for task in tasks},
        values={name[task]: task.xcom_pull(task_ids=task.task_id, map_indexes=task.map_index) for task in tasks},
    )
