"""What can be wrong with a request about rows in quarantine."""

from __future__ import annotations

from collections.abc import Sequence

from servers.runtime.errors import InvalidArgument, NotFound

_MOST_NAMED = 20


class QuarantinedRowsNotFound(NotFound):
    """Rows are not in quarantine: they never were, or were replayed or discarded."""

    reason = "QUARANTINED_ROWS_NOT_FOUND"

    def __init__(self, dataset: str, ids: Sequence[str]) -> None:
        named = ", ".join(ids[:_MOST_NAMED]) + (f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else "")
        super().__init__(
            f"the quarantine of dataset {dataset!r} has no rows {named}; ListQuarantinedRows lists those that it has",
            metadata={"dataset": dataset, "ids": ",".join(ids[:_MOST_NAMED])},
            resource=("mlops.ingestion.v1.QuarantinedRow", ids[0]),
        )


class InvalidSelection(InvalidArgument):
    """A request does not say clearly which rows it means."""

    reason = "QUARANTINE_SELECTION_INVALID"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(problem, field_violations=[(field, problem)])
