"""The operations of a data process, in this process."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from servers.ingestion.data_process import DataProcessSettings
from servers.ingestion.data_process.operations import operation_of
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.quarantine.filtering import order
from servers.ingestion.tables import DatasetTable, Tables
from servers.ingestion.tables.delta_log import TableLocation

ROWS_OUT = {"columns": "DISCARD_ROW", "types": "DISCARD_ROW"}
STAYS_AS_IT_IS = {"tables": "FREEZE", **ROWS_OUT}


@dataclass(frozen=True)
class Bench:
    """A dataset and its quarantine."""

    workplace: Workplace
    folder: Path
    dataset: str = "flights"

    @classmethod
    def of(cls, tables: Tables, folder: Path) -> Bench:
        settings = DataProcessSettings(tables_url=folder.as_uri(), scratch_folder=folder)
        return cls(replace(Workplace.of(settings.for_process(folder)), tables=tables), folder)

    @property
    def table(self) -> DatasetTable:
        return self.workplace.tables.table("default", self.dataset)

    @property
    def quarantine(self) -> TableLocation:
        return self.workplace.tables.quarantine("default", self.dataset)

    def do(self, operation: str, **arguments: Any) -> Any:
        return operation_of(operation)(self.workplace, {"project": "default", "dataset": self.dataset, **arguments}, lambda _progress: None)

    def ingest(self, data: str | pa.Table, *, ingestion_id: str = "", **arguments: Any) -> dict[str, Any]:
        """Takes in CSV, or a table as an Arrow file."""
        path = self.folder / uuid.uuid4().hex
        name = "rows.csv"
        if isinstance(data, pa.Table):
            name = "rows.arrow"
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, data.schema) as writer:
                writer.write_table(data)
        else:
            path.write_text(data)
        source = {"kind": "file", "path": str(path), "name": name}
        usual = {"ingestion_id": ingestion_id or str(uuid.uuid4()), "source": source, "mode": "APPEND", "contract": ROWS_OUT}
        answer: dict[str, Any] = self.do("ingest", **(usual | arguments))
        return answer

    def append(self, batches: Mapping[int, bytes], *, producer: str = "sensor-17", **arguments: Any) -> dict[str, Any]:
        """Writes batches of NDJSON of a stream, by their numbers."""
        waiting = []
        for sequence, rows in batches.items():
            path = self.folder / uuid.uuid4().hex
            path.write_bytes(rows)
            waiting.append({"sequence": sequence, "format": "NDJSON", "path": str(path)})
        usual = {"producer": producer, "mode": "APPEND", "keys": [], "contract": ROWS_OUT, "column_types": {}, "most_rows": 1000}
        answer: dict[str, Any] = self.do("append", **(usual | arguments), batches=waiting)
        assert answer["failed"] is None, answer
        return answer

    def replay(
        self,
        *,
        ids: Sequence[str] = (),
        filter: str | None = "",
        repairs: Mapping[str, Mapping[str, Any]] | None = None,
        ingestion_id: str = "",
        **arguments: Any,
    ) -> dict[str, Any]:
        """Replays rows: those that are named, or else those that the filter selects."""
        fixed = [{"id": each, "values": values} for each, values in (repairs or {}).items()]
        named = list(dict.fromkeys([*ids, *(repairs or {})]))
        source = {"kind": "quarantine", "ids": named, "filter": None if named else filter, "repairs": fixed}
        usual = {"ingestion_id": ingestion_id or str(uuid.uuid4()), "source": source, "mode": "APPEND", "contract": STAYS_AS_IT_IS}
        answer: dict[str, Any] = self.do("ingest", **(usual | arguments))
        return answer

    def page(self, *, filter: str = "", order_by: str = "", after: Mapping[str, Any] | None = None, limit: int = 1000) -> dict[str, Any]:
        found: dict[str, Any] = self.do("list_quarantined", filter=filter, order=order(order_by), after=after, limit=limit)
        return found

    def rows(self, **arguments: Any) -> list[dict[str, Any]]:
        """The rows in quarantine."""
        page = self.page(**arguments)
        assert not page["has_more"]
        rows: list[dict[str, Any]] = page["rows"]
        return rows

    def discard(self, *, ids: Sequence[str] = (), filter: str | None = "") -> int:
        return int(self.do("discard_quarantined", ids=list(ids), filter=None if ids else filter))

    def dataset_rows(self) -> pa.Table:
        return self.table.preview(limit=10_000_000)


def place_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Where the page after a row begins."""
    return {name: row[name] for name in ("quarantine_time", "origin", "row")}
