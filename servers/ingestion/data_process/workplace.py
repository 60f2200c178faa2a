"""What the operations of a data process work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.ingestion.data_process.allowed_sources import AllowedSources
from servers.ingestion.data_process.s3_region import region
from servers.ingestion.data_process.sources import Sources
from servers.ingestion.data_process.table_root import TableRoot
from servers.ingestion.readers.options import ReadLimits
from servers.ingestion.tables import Tables, s3_options


@dataclass(frozen=True, slots=True)
class Workplace:
    """Tables and sources."""

    tables: Tables
    sources: Sources
    limits: ReadLimits
    """What reading a file may cost."""
    most_rejected_rows: int
    """Rejected rows that an ingestion tells of."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Workplace:
        """Makes it from what `DataProcessSettings.for_process` wrote down."""
        root, scratch = TableRoot.parsed(settings["tables_url"]), Path(settings["scratch_folder"])
        options = s3_options(root.endpoint or None, region=region()) if root.is_s3 else None
        return cls(
            Tables(root.url, options, spool_folder=scratch),
            Sources(
                AllowedSources(settings["allowed_sources"]),
                settings["s3_endpoint"],
                scratch,
                settings["max_file_bytes"],
                settings["uploads_url"],
            ),
            ReadLimits(max_decompressed_bytes=settings["max_decompressed_bytes"]),
            settings["most_rejected_rows"],
        )
