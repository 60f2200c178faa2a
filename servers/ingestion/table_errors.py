"""What can be wrong with a dataset's table, a write to it or a read of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from servers.runtime.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable


class InvalidTableName(InvalidArgument):
    """A project or dataset has a name that may not become part of a path."""

    reason = "TABLE_NAME_INVALID"

    def __init__(self, what: str, name: str, allowed: str) -> None:
        super().__init__(
            f"{name[:300]!r} is not the name of a {what}; allowed are {allowed}", field_violations=[(what, f"allowed are {allowed}")]
        )


class InvalidColumn(InvalidArgument):
    """A delivered column cannot be a column of a table, by its name or its type."""

    reason = "COLUMN_INVALID"

    def __init__(self, column: str, problem: str, remedy: str) -> None:
        super().__init__(f"column {column[:300]!r} {problem}; {remedy}", metadata={"column": column[:300]})


class InvalidKeys(InvalidArgument):
    """The keys of an upsert do not identify rows."""

    reason = "UPSERT_KEYS_INVALID"


class TableNotFound(NotFound):
    """Nothing was written to the dataset yet, or it was deleted."""

    reason = "TABLE_NOT_FOUND"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"dataset {name!r} of project {project!r} has no table; write to it first",
            metadata={"project": project, "dataset": name},
            resource=("mlops.ingestion.v1.Dataset", f"{project}/{name}"),
        )


class VersionNotFound(NotFound):
    """The table never had the version, or nothing was there at that time."""

    reason = "TABLE_VERSION_NOT_FOUND"

    def __init__(self, name: str, wanted: str, latest: int) -> None:
        super().__init__(
            f"dataset {name!r} has no version {wanted}; its latest is {latest}", metadata={"dataset": name, "latest_version": str(latest)}
        )


class VersionExpired(FailedPrecondition):
    """The version is known, but a vacuum removed files of it."""

    reason = "TABLE_VERSION_EXPIRED"

    def __init__(self, name: str, version: int) -> None:
        message = f"version {version} of dataset {name!r} cannot be read any more, a vacuum removed its files; read a later version"
        super().__init__(message, metadata={"dataset": name, "version": str(version)}, preconditions=[("RETENTION", name, message)])


class SchemaFrozen(FailedPrecondition):
    """The schema contract forbids the change that the delivery needs."""

    reason = "SCHEMA_FROZEN"

    def __init__(self, subject: str, message: str) -> None:
        super().__init__(message, metadata={"subject": subject[:300]}, preconditions=[("SCHEMA_CONTRACT", subject[:300], message)])


class InvalidSchemaChange(InvalidArgument):
    """A change of columns asks for nothing, or contradicts itself."""

    reason = "SCHEMA_CHANGE_INVALID"


class ColumnTaken(FailedPrecondition):
    """A column cannot get a name, because another one has it."""

    reason = "COLUMN_TAKEN"

    def __init__(self, name: str, owner: str) -> None:
        message = f"no column can be renamed to {name[:100]!r}, because the table has {owner[:100]!r}; rename or drop that one, too"
        super().__init__(message, metadata={"column": name[:300]}, preconditions=[("COLUMN", name[:300], message)])


class ColumnsChanged(FailedPrecondition):
    """Columns of a delivery were renamed or dropped since it was asked for.

    Args:
        dataset: The dataset.
        changes: By column, what became of it, as a clause without a subject.
    """

    reason = "COLUMNS_CHANGED"

    def __init__(self, dataset: str, changes: Mapping[str, str]) -> None:
        told = ", ".join(f"{column[:100]!r} {what}" for column, what in list(changes.items())[:10])
        message = (
            f"columns of dataset {dataset!r} were changed since this delivery was asked for, which has them: {told}; nothing is written. "
            "Deliver them as they are called now, or deliver them once more as they are, and they are made anew"
        )
        metadata = {"dataset": dataset, "columns": ",".join(column[:100] for column in list(changes)[:10])}
        super().__init__(message, metadata=metadata, preconditions=[("COLUMNS", dataset, message)])


class NoColumnLeft(FailedPrecondition):
    """A change would drop all columns."""

    reason = "NO_COLUMN_LEFT"

    def __init__(self) -> None:
        message = "all columns would be dropped, and a dataset has at least one; keep one, or delete the dataset"
        super().__init__(message, preconditions=[("COLUMN", "", message)])


class TableNotRewritable(FailedPrecondition):
    """Another program gave the table something that files rewritten here would lose."""

    reason = "TABLE_NOT_REWRITABLE"

    def __init__(self, name: str, what: str) -> None:
        message = f"another program gave the table of dataset {name!r} {what}, so that program has to change its columns"
        super().__init__(message, metadata={"dataset": name}, preconditions=[("TABLE", name, message)])


class ValueDoesNotFit(InvalidArgument):
    """A value cannot be stored in its column without loss."""

    reason = "VALUE_DOES_NOT_FIT"

    def __init__(self, column: str, row: int | None, value: str, table_type: str, remedy: str) -> None:
        where = "which is already in the table," if row is None else f"in row {row + 1} of the delivery"
        metadata = {"column": column[:300], "value": value, "type": table_type}
        super().__init__(
            f"the value {value!r} of column {column[:300]!r} {where} does not fit the type {table_type} without loss; {remedy}",
            metadata=metadata if row is None else metadata | {"row": str(row + 1)},
        )


class WriteConflict(Aborted):
    """Other writers were faster each time."""

    reason = "TABLE_WRITE_CONFLICT"

    def __init__(self, name: str, attempts: int) -> None:
        super().__init__(
            f"dataset {name!r} was changed by others during each of {attempts} attempts; nothing was written, repeat the call",
            metadata={"dataset": name},
            retry_after_s=1,
        )


class DeliveryOutOfTurn(Aborted):
    """The delivery follows on another one than the last that the producer wrote."""

    reason = "DELIVERY_OUT_OF_TURN"

    def __init__(self, name: str, after: int, last: int) -> None:
        super().__init__(
            f"the delivery to dataset {name!r} follows on {after}, and {last} was written last; nothing was written, look again",
            metadata={"dataset": name, "last_sequence": str(last)},
            retry_after_s=0,
        )


class RetentionTooShort(InvalidArgument):
    """A vacuum would remove files that running reads or writes need."""

    reason = "RETENTION_TOO_SHORT"

    def __init__(self, wanted_s: float, shortest_s: float) -> None:
        super().__init__(
            f"a retention of {wanted_s:g} s is too short, running reads and writes need older files; the shortest is {shortest_s:g} s",
            metadata={"shortest_retention_s": f"{shortest_s:g}"},
        )


class StorageUnavailable(Unavailable):
    """The folder or the S3 does not answer, or does not let us in."""

    reason = "TABLE_STORAGE_UNAVAILABLE"

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"the storage of tables does not answer ({detail}); check it and its credentials, then repeat the call", retry_after_s=5
        )


class StorageFull(ResourceExhausted):
    """No space is left for a delivery."""

    reason = "TABLE_STORAGE_FULL"

    def __init__(self) -> None:
        super().__init__(
            "no space is left to write the delivery, and nothing of it was stored; vacuum tables or add space, then repeat the call"
        )


def named(columns: Sequence[str]) -> str:
    """Returns names for a message: the first ten, and how many more."""
    shown = ", ".join(repr(column[:100]) for column in columns[:10])
    return shown + (f" and {len(columns) - 10} more" if len(columns) > 10 else "")
