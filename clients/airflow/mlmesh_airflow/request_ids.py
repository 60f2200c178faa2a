"""The identity of what a task asks for, so that its retries ask for the same."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

# Any constant would do; this one must stay, or tasks that are under way during an update do their work twice.
_NAMESPACE = uuid.UUID("8e6a5d0c-2f0e-5b0a-9c36-6f1d0a1f7a51")


def request_id(task: RuntimeTaskInstanceProtocol, attempt: int) -> str:
    """Returns the identifier of a task's request, which the mesh answers once.

    The number of the try is not part of it, since a retry after a crash has to find what the try before it began. `max_tries` is: it
    stays the same from retry to retry, and grows when somebody clears the task, who wants the work done anew.

    Args:
        task: The task as it runs.
        attempt: How many pieces of work of this task have ended without success.
    """
    parts = [task.dag_id, task.run_id, task.task_id, task.map_index, task.max_tries, attempt]
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))
