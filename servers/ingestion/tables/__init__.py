"""Datasets as Delta Lake tables, in a folder or in S3.

deltalake starts threads and panics in a forked process: processes that use this package are spawned.
"""

from servers.ingestion.tables.contract import (
    ChangeKind,
    ContractMode,
    Delivery,
    RejectedRow,
    RejectionReason,
    SchemaChange,
    SchemaContract,
    WriteMode,
    Written,
)
from servers.ingestion.tables.dataset_table import DatasetTable
from servers.ingestion.tables.reading import Snapshot, Standing, TableVersion
from servers.ingestion.tables.rewriting import Rewritten
from servers.ingestion.tables.schema_history import TableSchema
from servers.ingestion.tables.tables import Tables, s3_options
from servers.ingestion.tables.upkeep import Compaction

__all__ = [
    "ChangeKind",
    "Compaction",
    "ContractMode",
    "DatasetTable",
    "Delivery",
    "RejectedRow",
    "RejectionReason",
    "Rewritten",
    "SchemaChange",
    "SchemaContract",
    "Snapshot",
    "Standing",
    "TableSchema",
    "TableVersion",
    "Tables",
    "WriteMode",
    "Written",
    "s3_options",
]
