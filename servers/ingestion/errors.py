"""Errors of ingestion: each has one reason and one gRPC code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.runtime.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable

_SHOWN_CHARACTERS = 100


def shown(value: object) -> str:
    """A value as a message shows it: quoted where it is text, and cut where it is long."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def place(file: str, line: int | None, column: str | None) -> str:
    """Where something stands in a file, as messages begin: `flights.csv, line 7, column 'delay'`."""
    parts = [file[:255] or "the file"]
    if line is not None:
        parts.append(f"line {line}")
    if column is not None:
        parts.append(f"column {shown(column)}")
    return ", ".join(parts)


class InvalidFile(InvalidArgument):
    """A file cannot be read as rows.

    Args:
        message: What is wrong, what is allowed and what to do, without the place.
        file: What the sender calls the file.
        line: Line of the file, from 1; for binary formats the row, from 1.
        column: Name of the column, or the path of a nested field.
    """

    reason = "INVALID_FILE"

    def __init__(self, message: str, *, file: str, line: int | None = None, column: str | None = None) -> None:
        facts = {"file": file[:255], "line": line, "column": column}
        metadata = {key: str(value) for key, value in facts.items() if value is not None}
        super().__init__(f"{place(file, line, column)}: {message}", metadata=metadata)
        self.line = line
        self.column = column


class InvalidReadOptions(InvalidFile):
    """The options cannot be followed, whatever the file, or name what this file does not have."""

    reason = "INVALID_READ_OPTIONS"


class UnknownFormat(InvalidFile):
    """Neither the first bytes nor the name of the file tell its format."""

    reason = "UNKNOWN_FORMAT"


class EmptyFile(InvalidFile):
    """The file has nothing that a schema could come from."""

    reason = "EMPTY_FILE"


class CorruptFile(InvalidFile):
    """The file is damaged, cut off, or of another format than was said."""

    reason = "CORRUPT_FILE"


class WrongEncoding(InvalidFile):
    """The bytes are not text in the encoding that was said."""

    reason = "WRONG_ENCODING"


class NulCharacter(InvalidFile):
    """A text file has a NUL character, which no column can hold."""

    reason = "NUL_CHARACTER"


class InvalidHeader(InvalidFile):
    """Two columns have the same name, or one has none."""

    reason = "INVALID_HEADER"


class RaggedRow(InvalidFile):
    """A row has more or fewer cells than there are columns."""

    reason = "RAGGED_ROW"


class QuoteNotClosed(InvalidFile):
    """A quote opens and never closes."""

    reason = "QUOTE_NOT_CLOSED"


class InvalidJson(InvalidFile):
    """The JSON is not valid, or it is no list of objects."""

    reason = "INVALID_JSON"


class MixedTypes(InvalidFile):
    """One field has values of types that no column can hold together."""

    reason = "MIXED_TYPES"


class ValueDoesNotFit(InvalidFile):
    """A value is not of its column's type, or would lose digits in it."""

    reason = "VALUE_DOES_NOT_FIT"


class UnsupportedColumnType(InvalidFile):
    """A column has a type that tables cannot hold."""

    reason = "UNSUPPORTED_COLUMN_TYPE"


class ErrorCell(InvalidFile):
    """A cell of a spreadsheet holds an error such as `#DIV/0!`."""

    reason = "ERROR_CELL"


class FileTooLarge(ResourceExhausted):
    """A file, a row or a cell is larger than allowed, or inflates to much more than its size.

    Args:
        message: What is too large, the limit, and what to do, without the place.
        file: What the sender calls the file.
        line: Line or row, from 1.
        column: Name of the column.
    """

    reason = "FILE_TOO_LARGE"

    def __init__(self, message: str, *, file: str, line: int | None = None, column: str | None = None) -> None:
        super().__init__(f"{place(file, line, column)}: {message}", metadata={"file": file[:255]})


class DatasetBusy(Unavailable):
    """Somebody else has the dataset for the moment."""

    reason = "DATASET_BUSY"

    def __init__(self, dataset: str, why: str) -> None:
        text = f"dataset {dataset!r} is busy: {why}; it is tried again, or repeat the call"
        super().__init__(text, metadata={"dataset": dataset}, retry_after_s=1)


class DeletionFailed(Unavailable):
    """A dataset could not be deleted; a part of it may be gone."""

    reason = "DELETION_FAILED"

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(f"the dataset is not deleted: {message}; repeat the call", metadata={"cause": cause})


class NothingToValidate(InvalidArgument):
    """Neither a dataset nor a source is named, or both are."""

    reason = "NOTHING_TO_VALIDATE"

    def __init__(self) -> None:
        super().__init__("name either a dataset or a source to validate", field_violations=[("dataset", "either this or `source`")])


class NumberNotJson(InvalidArgument):
    """Rows or a suite in a request have a number that JSON does not."""

    reason = "NUMBER_NOT_JSON"


class ExpectationsNotMet(FailedPrecondition):
    """The gate of an ingestion refuses the data: a critical expectation is not met.

    Args:
        outcome: What the data process tells, with its report as `validation`.
    """

    reason = "EXPECTATIONS_NOT_MET"

    def __init__(self, outcome: Mapping[str, Any]) -> None:
        self.outcome = outcome
        report = outcome["validation"]
        broken = [result["type"] for result in report["results"] if not result["success"]]
        named = ", ".join(broken[:5]) + (", …" if broken[5:] else "")
        text = f"nothing is written: the data do not meet the suite {report['suite_name']!r} ({named})"
        super().__init__(f"{text}; the ingestion's `validation` names the rows. Correct them, or choose another `gate.mode`")


class TooManyIngestions(ResourceExhausted):
    """A project has as many ingestions that have not ended as it may.

    Args:
        project: The project.
        most: How many that are.
    """

    reason = "TOO_MANY_INGESTIONS"

    def __init__(self, project: str, most: int) -> None:
        super().__init__(
            f"{most:,} ingestions of project {project!r} have not ended, and there may be no more at the same time; repeat this later, "
            "or send more rows at a time: a stream takes them as they come",
            metadata={"project": project, "max_waiting_ingestions": str(most)},
            retry_after_s=5,
        )
