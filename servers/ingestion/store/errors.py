"""What is asked for and is not there."""

from __future__ import annotations

from servers.runtime.errors import NotFound


class IngestionNotFound(NotFound):
    """There is no such ingestion, or it is another project's.

    Args:
        ingestion_id: What was asked for.
        project: Where; empty = anywhere.
    """

    reason = "INGESTION_NOT_FOUND"

    def __init__(self, ingestion_id: str, project: str = "") -> None:
        where = f" in project {project!r}" if project else ""
        super().__init__(
            f"there is no ingestion {ingestion_id!r}{where}; ListIngestions lists those that there are",
            metadata={"id": ingestion_id} | ({"project": project} if project else {}),
            resource=("mlops.ingestion.v1.Ingestion", ingestion_id),
        )


class DatasetNotFound(NotFound):
    """Nothing was written to the dataset yet, or it was deleted.

    Args:
        project: Where.
        name: What was asked for.
    """

    reason = "DATASET_NOT_FOUND"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"there is no dataset {name!r} in project {project!r}; ListDatasets lists those that there are, and IngestData makes one",
            metadata={"project": project, "name": name},
            resource=("mlops.ingestion.v1.Dataset", f"{project}/{name}"),
        )
