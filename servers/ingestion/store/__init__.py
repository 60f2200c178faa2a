"""All SQL of the ingestion server: what is known of ingestions and datasets, in the database that also has their tasks.

```python
engine = open_store(settings)
ingestions, datasets = Ingestions(engine), Datasets(engine)
tasks = TaskTable(engine, on_end=ingestions.end)

def keep(connection: Connection) -> None:               # the ingestion and its task, or neither
    ingestions.add(connection, new, data)
    tasks.enqueue(connection, NewTask(task_id=new.id, kind="ingest", payload={}))

write(engine, keep)
```
"""

from servers.ingestion.store.datasets import Datasets
from servers.ingestion.store.errors import DatasetNotFound, IngestionNotFound
from servers.ingestion.store.ingestions import Ingestions
from servers.ingestion.store.opening import open_store
from servers.ingestion.store.subscriptions import Subscriptions
from servers.ingestion.store.uploads import KnownUpload, Uploads

__all__ = ["DatasetNotFound", "Datasets", "IngestionNotFound", "Ingestions", "KnownUpload", "Subscriptions", "Uploads", "open_store"]
