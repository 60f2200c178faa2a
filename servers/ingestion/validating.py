"""Data against expectations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.ingestion.catalogue import Check
from servers.ingestion.data_process import DataProcesses
from servers.ingestion.inputs import Input, spooled
from servers.ingestion.store import Datasets


class Validating:
    """Checks data; writes nothing.

    Args:
        datasets: What is known of datasets.
        processes: Where data are read.
    """

    def __init__(self, datasets: Datasets, processes: DataProcesses) -> None:
        self._datasets = datasets
        self._processes = processes

    def dataset(self, arguments: Mapping[str, Any], name: str, version: int | None, check: Check, operation: str = "validate") -> Any:
        """Checks a dataset.

        Args:
            arguments: Project, suite, and how much is told.
            name: The dataset.
            version: Its version; None = the newest.
            check: Called now and then.
            operation: What is done with the report, as the data process calls it; it is returned by default.

        Raises:
            DatasetNotFound: The project has none of this name.
            OperationFailed: The suite is wrong, or there is no such version.
        """
        self._datasets.get(arguments["project"], name)
        return self._processes.run(operation, {**arguments, "dataset": name, "version": version}, check=check)

    def suggested(self, project: str, name: str, version: int | None, check: Check) -> Mapping[str, Any]:
        """Suggests a suite from what a dataset has.

        Raises:
            DatasetNotFound: The project has none of this name.
            OperationFailed: There is no such version.
        """
        self._datasets.get(project, name)
        suite: Mapping[str, Any] = self._processes.run("suggest", {"project": project, "dataset": name, "version": version}, check=check)
        return suite

    def source(
        self, arguments: Mapping[str, Any], source: Mapping[str, Any], given: Input | None, check: Check, operation: str = "validate"
    ) -> Any:
        """Checks data that are no dataset.

        Args:
            arguments: Project, suite, how the data are read, and how much is told.
            source: Where they are.
            given: The data, where the request has them.
            check: Called now and then.
            operation: As for `dataset`.

        Raises:
            OperationFailed: The suite is wrong, or the data cannot be read.
        """
        with spooled(source, given, self._processes.scratch_folder) as described:
            return self._processes.run(operation, {**arguments, "source": described}, check=check)
