"""Schemas of datasets: those that there were, and the next one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from aip_filter import decode_page_token, encode_page_token
from servers.ingestion.catalogue import Check
from servers.ingestion.data_process import DataProcesses
from servers.ingestion.ingesting import Ingesting
from servers.ingestion.records import Ingestion, NewIngestion
from servers.ingestion.schemas.foreseeing import Foreseeing
from servers.ingestion.store import Datasets
from servers.runtime.auth import Principal
from servers.runtime.paging import Listing


@dataclass(frozen=True)
class SchemaVersion:
    """A schema that a dataset has had.

    Args:
        version: The first version that has it.
        columns: Names and Arrow types, in order.
        changes: What changed against the schema before, a sentence each.
        create_time: When the version was written.
        ingestion_id: The ingestion that wrote it; empty where none did.
    """

    version: int
    columns: tuple[tuple[str, str], ...]
    changes: tuple[str, ...]
    create_time: datetime
    ingestion_id: str


class DatasetSchemas:
    """Knows the schemas of datasets, and changes them.

    Args:
        datasets: What is known of datasets.
        processes: Where tables are read.
        ingesting: Works on changes.
        foreseeing: Says what a change would do.
    """

    def __init__(self, datasets: Datasets, processes: DataProcesses, ingesting: Ingesting, foreseeing: Foreseeing) -> None:
        self._datasets = datasets
        self._processes = processes
        self._ingesting = ingesting
        self._foreseeing = foreseeing

    def page(self, project: str, name: str, listing: Listing, check: Check) -> tuple[list[SchemaVersion], str]:
        """Returns a page of the schemas of a dataset, the newest first, and the token of the next one.

        Raises:
            DatasetNotFound: The project has none of this name.
            aip_filter.QueryError: The page token is not from this list.
        """
        self._datasets.get(project, name)
        scope = f"schemas\n{project}\n{name}"
        before = decode_page_token(listing.page_token, scope=scope)[0] if listing.page_token else None
        arguments = {"project": project, "dataset": name, "limit": listing.page_size + 1, "before": before}
        found = self._processes.run("schemas", arguments, check=check)
        page = found[: listing.page_size]
        token = encode_page_token([page[-1]["version"]], scope=scope) if len(found) > len(page) else ""
        return [
            SchemaVersion(
                version=item["version"],
                columns=tuple((column, arrow_type) for column, arrow_type in item["columns"]),
                changes=tuple(item["changes"]),
                create_time=datetime.fromisoformat(item["create_time"]),
                ingestion_id=item["ingestion_id"],
            )
            for item in page
        ], token

    def change(self, new: NewIngestion) -> Ingestion:
        """Keeps a change that is to be made; a worker makes it from now on.

        Raises:
            DatasetNotFound: The project has none of this name.
        """
        self._datasets.get(new.project, new.dataset)
        return self._ingesting.start(new, None)

    def foreseen(self, new: NewIngestion, reader: Principal, check: Check) -> Ingestion:
        """Returns a change as it would end.

        Raises:
            DatasetNotFound: The project has none of this name.
        """
        self._datasets.get(new.project, new.dataset)
        return self._foreseeing.foreseen(new, None, reader, check)
