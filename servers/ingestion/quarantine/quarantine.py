"""Rows in quarantine, as callers deal with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from aip_filter import decode_page_token, encode_page_token
from servers.ingestion.catalogue import Check
from servers.ingestion.data_process import DataProcesses
from servers.ingestion.ingesting import Ingesting
from servers.ingestion.quarantine import filtering
from servers.ingestion.quarantine.errors import QuarantinedRowsNotFound
from servers.ingestion.records import Ingestion, NewIngestion
from servers.ingestion.store import Datasets
from servers.runtime.paging import Listing

_TOKEN_FIELDS = ("quarantine_time", "origin", "row")


class Quarantine:
    """The quarantines of all datasets.

    Args:
        datasets: What is known of datasets.
        ingesting: Takes data in.
        processes: Where rows are read and removed.
    """

    def __init__(self, datasets: Datasets, ingesting: Ingesting, processes: DataProcesses) -> None:
        self._datasets = datasets
        self._ingesting = ingesting
        self._processes = processes

    def page(self, project: str, dataset: str, listing: Listing, check: Check) -> tuple[Sequence[Mapping[str, Any]], str]:
        """Returns a page of the rows in quarantine of a dataset, and the token of the next one.

        A page may have fewer rows than wanted where they are large.

        Raises:
            DatasetNotFound: The project has none of this name.
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        filtering.parsed(listing.filter)
        order = filtering.order(listing.order_by)
        bound = {"filter": listing.filter, "order_by": listing.order_by, "scope": f"quarantine\n{project}\n{dataset}"}
        after = dict(zip(_TOKEN_FIELDS, decode_page_token(listing.page_token, **bound), strict=True)) if listing.page_token else None
        self._datasets.get(project, dataset)
        arguments = {"project": project, "dataset": dataset, "filter": listing.filter, "order": order, "limit": listing.page_size}
        if after is not None:
            after["quarantine_time"] = after["quarantine_time"].isoformat()
        found = self._processes.run("list_quarantined", {**arguments, "after": after}, check=check)
        rows: Sequence[Mapping[str, Any]] = found["rows"]
        if not found["has_more"]:
            return rows, ""
        last = [datetime.fromisoformat(rows[-1]["quarantine_time"]), rows[-1]["origin"], rows[-1]["row"]]
        return rows, encode_page_token(last, **bound)

    def replay(self, new: NewIngestion, check: Check) -> Ingestion:
        """Keeps that rows are to be written into their dataset; a worker does it from now on.

        Args:
            new: What is wanted; its source has `ids`, or a `filter`, and `repairs`.
            check: Called now and then.

        Raises:
            DatasetNotFound: The project has none of this name.
            QuarantinedRowsNotFound: A row that is named is not in quarantine.
            aip_filter.FilterError: The filter is wrong.
        """
        source = new.request["source"]
        filtering.parsed(source["filter"] or "")
        self._datasets.get(new.project, new.dataset)
        if source["ids"]:
            wanted = {"project": new.project, "dataset": new.dataset, "ids": source["ids"], "filter": None}
            if unknown := self._processes.run("unknown_quarantined", wanted, check=check):
                raise QuarantinedRowsNotFound(new.dataset, unknown)
        return self._ingesting.start(new, None)

    def discard(self, project: str, dataset: str, selected: Mapping[str, Any], check: Check) -> int:
        """Removes rows from quarantine for good; returns how many. Ids of rows that are not there count for nothing, so it may be repeated.

        Args:
            project: Its project.
            dataset: The dataset.
            selected: `ids`, or a `filter`.
            check: Called now and then.

        Raises:
            DatasetNotFound: The project has none of this name.
            aip_filter.FilterError: The filter is wrong.
        """
        filtering.parsed(selected["filter"] or "")
        self._datasets.get(project, dataset)
        return int(self._processes.run("discard_quarantined", {"project": project, "dataset": dataset, **selected}, check=check))
