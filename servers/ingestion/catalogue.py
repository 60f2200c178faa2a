"""Datasets as they are and were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from aip_filter import decode_page_token, encode_page_token
from servers.ingestion.data_process import DataProcesses
from servers.ingestion.records import Dataset, DatasetVersion
from servers.ingestion.store import Datasets
from servers.runtime.paging import Listing
from sql_engine import write

Check = Callable[[], None]
"""Called now and then during work in a data process; ends the work by an exception."""


@dataclass(frozen=True)
class Compacted:
    """What joining small files did.

    Args:
        version: The version that it made.
        files_before: Files that were joined.
        files_after: Files that were made of them.
    """

    version: int
    files_before: int
    files_after: int


def dataset_of(project: str, name: str, described: Mapping[str, Any]) -> Dataset:
    """Returns a dataset as a data process describes it."""
    update_time = datetime.fromisoformat(described["update_time"])
    return Dataset(
        project=project,
        name=name,
        version=described["version"],
        columns=tuple((column, arrow_type) for column, arrow_type in described["columns"]),
        row_count=described["row_count"],
        size_bytes=described["size_bytes"],
        create_time=update_time,
        update_time=update_time,
    )


class DatasetCatalogue:
    """Looks at datasets, and brings earlier versions back.

    Args:
        engine: The component's database.
        datasets: What is known of datasets.
        processes: Where tables are read.
    """

    def __init__(self, engine: Engine, datasets: Datasets, processes: DataProcesses) -> None:
        self._engine = engine
        self._datasets = datasets
        self._processes = processes

    def get(self, project: str, name: str, check: Check, *, version: int | None = None, read_time: datetime | None = None) -> Dataset:
        """Returns a dataset as its newest version has it, or an earlier one.

        Args:
            project: Its project.
            name: Its name.
            check: Called now and then.
            version: The version; None = the newest, or that of `read_time`.
            read_time: When; None = now.

        Raises:
            DatasetNotFound: The project has none of this name.
            OperationFailed: There is no such version (NOT_FOUND), or the storage does not answer (UNAVAILABLE).
        """
        known = self._datasets.get(project, name)
        if read_time is None and version in (None, known.version):
            return known
        at = None if read_time is None else read_time.isoformat()
        arguments = {"project": project, "dataset": name, "version": version, "read_time": at}
        found = dataset_of(project, name, self._processes.run("describe", arguments, check=check))
        return replace(found, create_time=known.create_time)

    def page(self, project: str, listing: Listing) -> tuple[list[Dataset], str]:
        """Returns a page of a project's datasets, and the token of the next one."""
        return self._datasets.page(project, listing)

    def versions(self, project: str, name: str, listing: Listing, check: Check) -> tuple[list[DatasetVersion], str]:
        """Returns a page of a dataset's versions, the newest first, and the token of the next one.

        Raises:
            DatasetNotFound: The project has none of this name.
            aip_filter.QueryError: The page token is not from this list.
        """
        self._datasets.get(project, name)
        scope = f"versions\n{project}\n{name}"
        before = decode_page_token(listing.page_token, scope=scope)[0] if listing.page_token else None
        arguments = {"project": project, "dataset": name, "limit": listing.page_size + 1, "before": before}
        found = self._processes.run("versions", arguments, check=check)
        page = found[: listing.page_size]
        token = encode_page_token([page[-1]["version"]], scope=scope) if len(found) > len(page) else ""
        return [
            DatasetVersion(item["version"], datetime.fromisoformat(item["create_time"]), item["operation"], item["ingestion_id"])
            for item in page
        ], token

    def preview(
        self, project: str, name: str, check: Check, *, version: int | None, limit: int, offset: int, columns: Sequence[str]
    ) -> Mapping[str, Any]:
        """Returns some rows of a dataset as JSON.

        Raises:
            DatasetNotFound: The project has none of this name.
            OperationFailed: There is no such version or column.
        """
        self._datasets.get(project, name)
        arguments = {"project": project, "dataset": name, "version": version, "limit": limit, "offset": offset, "columns": list(columns)}
        found: Mapping[str, Any] = self._processes.run("preview", arguments, check=check)
        return found

    def compact(self, project: str, name: str, check: Check) -> Compacted:
        """Joins small files of a dataset.

        Raises:
            DatasetNotFound: The project has none of this name.
        """
        known = self._datasets.get(project, name)
        done = self._processes.run("compact", {"project": project, "dataset": name}, check=check)
        found = replace(dataset_of(project, name, done["dataset"]), create_time=known.create_time)
        write(self._engine, lambda connection: self._datasets.put(connection, found))
        return Compacted(found.version, done["files_before"], done["files_after"])

    def vacuum(self, project: str, name: str, retention_s: float, check: Check) -> int:
        """Removes files that no version younger than the retention needs; returns how many.

        Raises:
            DatasetNotFound: The project has none of this name.
            OperationFailed: The retention is too short.
        """
        self._datasets.get(project, name)
        return int(self._processes.run("vacuum", {"project": project, "dataset": name, "retention_s": retention_s}, check=check))

    def rollback(self, project: str, name: str, version: int, check: Check) -> Dataset:
        """Makes the rows of an earlier version those of a new one.

        Raises:
            DatasetNotFound: The project has none of this name.
            OperationFailed: There is no such version.
        """
        known = self._datasets.get(project, name)
        arguments = {"project": project, "dataset": name, "version": version}
        found = replace(dataset_of(project, name, self._processes.run("rollback", arguments, check=check)), create_time=known.create_time)
        write(self._engine, lambda connection: self._datasets.put(connection, found))
        return found
