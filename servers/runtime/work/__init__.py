"""Durable work: whatever outlives a request is a task in the component's own database (ADR 46).

```python
tasks = TaskTable(engine)
workers = Workers(tasks, owner=str(uuid.uuid4()))
workers.register("ingest", ingest)                      # def ingest(run: Run) -> Result
workers.start()                                         # build_server(..., on_close=[workers.stop])
with begin_write(engine) as connection:                 # the record and its task, or neither
    store_record(connection)
    tasks.enqueue(connection, NewTask(task_id=record_id, kind="ingest", payload={"source": "..."}))
```
"""

from servers.runtime.work.run import Handler, Result, Run
from servers.runtime.work.settings import WorkSettings
from servers.runtime.work.signals import Cancelled, LeaseLost, Retry
from servers.runtime.work.task import Failure, Lease, NewTask, Task, TaskState
from servers.runtime.work.task_table import TaskTable
from servers.runtime.work.workers import Workers

__all__ = [
    "Cancelled",
    "Failure",
    "Handler",
    "Lease",
    "LeaseLost",
    "NewTask",
    "Result",
    "Retry",
    "Run",
    "Task",
    "TaskState",
    "TaskTable",
    "WorkSettings",
    "Workers",
]
