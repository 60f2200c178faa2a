"""What can be wrong with the dataset of a view."""

from __future__ import annotations

from collections.abc import Sequence

from servers.runtime.errors import FailedPrecondition


class ViewColumnMissing(FailedPrecondition):
    """The dataset of a view has lost a column that the view reads."""

    reason = "VIEW_COLUMN_MISSING"

    def __init__(self, columns: Sequence[str], version: int, there: Sequence[str]) -> None:
        message = (
            f"version {version} of the dataset has no column {', '.join(map(repr, columns))}; it has {', '.join(there[:50])}. "
            "Write the column again, or make a version of the view that reads another one"
        )
        metadata = {"columns": ",".join(columns), "version": str(version)}
        super().__init__(message, metadata=metadata, preconditions=[("DATASET", columns[0], message)])


class ViewTimeType(FailedPrecondition):
    """A column with times is none."""

    reason = "VIEW_TIME_TYPE"

    def __init__(self, column: str, kind: str) -> None:
        message = f"column {column!r} is {kind}; times are dates or timestamps. Make a version of the view that reads another column"
        super().__init__(message, metadata={"column": column, "type": kind}, preconditions=[("DATASET", column, message)])
