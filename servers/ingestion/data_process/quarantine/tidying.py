"""Removes from the storage what is in quarantine no more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from servers.ingestion.data_process.quarantine.contents import Contents
from servers.ingestion.data_process.quarantine.folder import GoneFile, QuarantineFolder, RowsFile


def tidy(folder: QuarantineFolder, contents: Contents, retention: timedelta) -> int:
    """Writes files anew without the rows that are gone, and removes what attempts have left that were never committed.

    Args:
        folder: The quarantine.
        contents: What is there now.
        retention: Longer than any attempt takes; what is younger may still be committed.

    Returns:
        Files removed.
    """
    oldest = datetime.now(UTC) - retention
    unneeded: list[RowsFile | GoneFile] = [*contents.found.replaced]
    for file in contents.found.rows:
        is_needed = _is_whole(folder, contents, file) if contents.is_committed(file.attempt) else file.quarantine_time > oldest
        if not is_needed:
            unneeded.append(file)
    # Their rows are in no file any more, and whoever has such rows in hand began later.
    old = [gone for gone in contents.found.gone if gone.written is not None and gone.written <= oldest]
    unneeded += old
    for each in unneeded:
        folder.remove(each)
    return len(unneeded)


def _is_whole(folder: QuarantineFolder, contents: Contents, file: RowsFile) -> bool:
    """Whether no row of a file is gone; otherwise those that are left are written to a file that takes its place."""
    with folder.reading(file) as parquet:
        row_count, schema = parquet.metadata.num_rows, parquet.schema_arrow
    left = sum(group.rows.num_rows for group in contents.groups(file))
    if 0 < left < row_count:
        with folder.writing(replace(file, generation=file.generation + 1), schema) as writer:
            for group in contents.groups(file):
                writer.write_batch(group.whole())
    return bool(left == row_count)
