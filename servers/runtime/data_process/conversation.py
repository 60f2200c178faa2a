"""A data process's side of the conversation with its server."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from servers.runtime.data_process.errors import OutOfMemory, ResultTooLarge
from servers.runtime.data_process.memory_errors import is_out_of_memory
from servers.runtime.data_process.messages import MAX_LINE_BYTES, LineTooLong, OnProgress, facts_of, line_of
from servers.runtime.errors import DomainError, FailedPrecondition

Perform = Callable[[str, Mapping[str, Any], OnProgress], Any]
"""Does an operation, by its name and arguments."""


class DataExtraMissing(FailedPrecondition):
    """The packages that data need are not installed.

    Args:
        module: What cannot be imported.
        extra: What has it.
    """

    reason = "DATA_EXTRA_MISSING"

    def __init__(self, module: str, extra: str) -> None:
        message = f"the server cannot work with data, because {module} is not installed; install mlmesh[{extra}]"
        super().__init__(message, metadata={"module": module}, preconditions=[("INSTALLATION", module, message)])


@dataclass(frozen=True)
class Advice:
    """What errors advise.

    Args:
        memory_setting: What gives a process more memory.
        extras: The extra that has a module, by the module's name.
    """

    memory_setting: str
    extras: Mapping[str, str]


def answer_all(requests: Iterable[Mapping[str, Any]], send: Callable[[bytes], None], perform: Perform, advice: Advice) -> None:
    """Answers requests one after the other.

    Args:
        requests: Operations, as they come.
        send: Sends a line.
        perform: Does an operation.
        advice: For whoever reads errors.
    """
    for request in requests:
        send(_answer(request, send, perform, advice))


def _answer(request: Mapping[str, Any], send: Callable[[bytes], None], perform: Perform, advice: Advice) -> bytes:
    try:
        result = perform(request["operation"], request["arguments"], lambda progress: send(line_of({"progress": progress})))
        return line_of({"result": result})
    except LineTooLong as error:
        return _error_line(ResultTooLarge(error.size_bytes, MAX_LINE_BYTES))
    except BaseException as error:  # Rust's panics are no `Exception`
        return _error_line(_told(error, advice))


def _told(error: BaseException, advice: Advice) -> DomainError:
    """What a caller may learn of an error."""
    is_memory = is_out_of_memory(error)
    if isinstance(error, DomainError) and not is_memory:
        return error
    if isinstance(error, ImportError) and not is_memory and (module := (error.name or "").partition(".")[0]) in advice.extras:
        return DataExtraMissing(module, advice.extras[module])
    traceback.print_exception(error, file=sys.stderr)
    if is_memory:
        return OutOfMemory(advice.memory_setting)
    return DomainError("the operation failed by a fault of the server, which is in its log", reason="INTERNAL")


def _error_line(error: DomainError) -> bytes:
    return line_of({"error": facts_of(error)})
