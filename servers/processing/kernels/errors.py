"""What can go wrong while a plan runs."""

from __future__ import annotations

import re

import duckdb

from servers.runtime.errors import Aborted, DomainError, FailedPrecondition, InvalidArgument, ResourceExhausted

_MOST_CHARACTERS = 1000
_OUT_OF_MEMORY = re.compile(r"Out of Memory Error|std::bad_alloc|[Cc]annot allocate memory")
_SPILL_FULL = re.compile(r"max_temp_directory_size|No space left on device|failed to offload")


class OutOfMemory(ResourceExhausted):
    """Work needs more memory than it may have, or more than the spill folder holds."""

    reason = "PROCESSING_OUT_OF_MEMORY"


class SpillFull(ResourceExhausted):
    """The spill folder is full, or there is none."""

    reason = "PROCESSING_SPILL_FULL"


class Cancelled(Aborted):
    """Somebody cancelled the run."""

    reason = "PROCESSING_CANCELLED"


class ValueNotComputable(InvalidArgument):
    """An expression has no value for a row: a text that is no number, an overflow, a category that is unknown."""

    reason = "VALUE_NOT_COMPUTABLE"


class FunctionFailed(InvalidArgument):
    """A Python function raised, or returned something else than it said."""

    reason = "PYTHON_FUNCTION_FAILED"


class WrongInput(FailedPrecondition):
    """An input has other columns than the plan was bound to, or can be read only once and is needed twice."""

    reason = "INPUT_CHANGED"


class EngineFailed(DomainError):
    """DuckDB failed in a way that is not about the rows."""

    reason = "PROCESSING_ENGINE_FAILED"


def typed_error(error: Exception, steps: tuple[str, ...]) -> DomainError:
    """Returns what an error of DuckDB means.

    Args:
        error: Raised by DuckDB, or by Arrow on a stream of DuckDB's, which keeps the words only.
        steps: Which steps were being computed.
    """
    words = str(error).split("\n\nLINE", 1)[0].split("\n\nPossible solutions", 1)[0].strip()[:_MOST_CHARACTERS]
    place = f"step {steps[-1]!r}" if len(steps) == 1 else f"one of the steps {', '.join(map(repr, steps[-20:]))}"
    metadata = {"step": steps[-1][:255]} if steps else {}
    if isinstance(error, duckdb.InterruptException) or words.startswith("INTERRUPT Error"):
        return Cancelled("the run was cancelled; nothing of it is kept", metadata=metadata)
    if _SPILL_FULL.search(words):
        return SpillFull(
            f"{place}: the work does not fit into memory and the spill folder; allow more of either, or filter before: {words}"
        )
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError) or _OUT_OF_MEMORY.search(words):
        return OutOfMemory(
            f"{place}: the work needs more memory than it may have; allow more, or filter before: {words}", metadata=metadata
        )
    if _is_of_rows(error, words):
        return ValueNotComputable(f"{place}: {words}; TRY(…), TRY_CAST or a filter before keep such rows out", metadata=metadata)
    return EngineFailed(f"{place}: {words}", metadata=metadata)


def _is_of_rows(error: Exception, words: str) -> bool:
    kinds = (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException, duckdb.ConstraintException)
    prefixes = ("Conversion Error", "Out of Range Error", "Invalid Input Error", "Constraint Error")
    return isinstance(error, kinds) or words.startswith(prefixes)
