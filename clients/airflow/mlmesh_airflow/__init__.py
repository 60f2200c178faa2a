"""Apache Airflow provider of mlmesh.

```python
from mlmesh_airflow import IngestDataOperator

IngestDataOperator(task_id="take_in", dataset="flights", source="s3://landing/{{ ds }}.parquet")
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlmesh_airflow.hook import MlmeshHook as MlmeshHook
    from mlmesh_airflow.ingest_data import IngestDataOperator as IngestDataOperator
    from mlmesh_airflow.ingestion_sensor import IngestionSensor as IngestionSensor
    from mlmesh_airflow.ingestion_trigger import IngestionTrigger as IngestionTrigger
    from mlmesh_airflow.processing_job import ProcessingJobOperator as ProcessingJobOperator
    from mlmesh_airflow.processing_sensor import ProcessingJobSensor as ProcessingJobSensor
    from mlmesh_airflow.processing_trigger import ProcessingJobTrigger as ProcessingJobTrigger

# Airflow reads `provider_info` of this package while it is still being imported itself, so nothing of it can be imported here.
_EXPORTS = {
    "IngestDataOperator": "mlmesh_airflow.ingest_data",
    "IngestionSensor": "mlmesh_airflow.ingestion_sensor",
    "IngestionTrigger": "mlmesh_airflow.ingestion_trigger",
    "MlmeshHook": "mlmesh_airflow.hook",
    "ProcessingJobOperator": "mlmesh_airflow.processing_job",
    "ProcessingJobSensor": "mlmesh_airflow.processing_sensor",
    "ProcessingJobTrigger": "mlmesh_airflow.processing_trigger",
}

__all__ = [
    *("IngestDataOperator", "IngestionSensor", "IngestionTrigger", "MlmeshHook"),
    *("ProcessingJobOperator", "ProcessingJobSensor", "ProcessingJobTrigger"),
]


def __getattr__(name: str) -> Any:
    try:
        module = _EXPORTS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(module), name)
