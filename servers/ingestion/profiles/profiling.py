"""What datasets have in them, when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.ingestion.catalogue import Check
from servers.ingestion.data_process import DataProcesses
from servers.ingestion.store import Datasets


class Profiling:
    """Describes datasets and ingestions.

    Args:
        datasets: What is known of datasets.
        processes: Where data are read and pages are made.
    """

    def __init__(self, datasets: Datasets, processes: DataProcesses) -> None:
        self._datasets = datasets
        self._processes = processes

    def profile(self, project: str, dataset: str, version: int | None, check: Check) -> Mapping[str, Any]:
        """Returns what a version of a dataset has in it.

        Args:
            project: Its project.
            dataset: Its name.
            version: The version; None = the newest.
            check: Called now and then.

        Raises:
            DatasetNotFound: The project has none of this name.
            OperationFailed: There is no such version (NOT_FOUND), or a vacuum removed its files (FAILED_PRECONDITION).
        """
        found: Mapping[str, Any] = self._of_dataset("profile", project, dataset, version, check)
        return found

    def profile_page(self, project: str, dataset: str, version: int | None, check: Check) -> str:
        """Returns the same as an HTML page."""
        return str(self._of_dataset("render_profile", project, dataset, version, check))

    def ingestion_page(self, described: Mapping[str, Any], check: Check) -> str:
        """Returns an ingestion as an HTML page.

        Args:
            described: The ingestion, as `converters.ingestion_object` describes it.
            check: Called now and then.
        """
        return str(self._processes.run("render_ingestion", {"ingestion": described}, check=check))

    def _of_dataset(self, operation: str, project: str, dataset: str, version: int | None, check: Check) -> Any:
        self._datasets.get(project, dataset)
        return self._processes.run(operation, {"project": project, "dataset": dataset, "version": version}, check=check)
