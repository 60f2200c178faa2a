"""What an operation in a data process ends with instead of a result."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any

from servers.runtime.errors import DomainError, InvalidArgument, ResourceExhausted, Unavailable


class OperationFailed(DomainError):
    """The error that a data process describes, with the same facts.

    Args:
        code: Name of the gRPC code.
        reason: Reason of the error.
        message: Its message.
        facts: The other arguments of `DomainError`.
    """

    def __init__(self, code: str, reason: str, message: str, **facts: Any) -> None:
        super().__init__(message, reason=reason, **facts)
        # Only the server makes these, and it has gRPC; a process that imports this module has not.
        from grpc import StatusCode

        vars(self)["code"] = StatusCode[code]

    @classmethod
    def described_by(cls, facts: Mapping[str, Any]) -> OperationFailed:
        """Makes the error that `messages.facts_of` wrote down."""
        resource = facts["resource"]
        return cls(
            facts["code"],
            facts["reason"],
            facts["message"],
            metadata=facts["metadata"],
            field_violations=[(field, description) for field, description in facts["field_violations"]],
            preconditions=[(kind, subject, description) for kind, subject, description in facts["preconditions"]],
            resource=None if resource is None else (resource[0], resource[1]),
            retry_after_s=facts["retry_after_s"],
        )


class DataProcessDied(OperationFailed):
    """A process died of an operation, or broke the protocol."""

    reason = "DATA_PROCESS_DIED"

    def __init__(self, how: str) -> None:
        text = f"the process that worked on the data {how}; repeat the call, and if that does not help, see the server's log"
        super().__init__("INTERNAL", self.reason, text)


class DataProcessOutOfMemory(ResourceExhausted):
    """A process died because memory ran out.

    Args:
        how: How it ended, as a clause.
        memory_setting: What gives it more.
    """

    reason = "DATA_PROCESS_OUT_OF_MEMORY"

    def __init__(self, how: str, memory_setting: str) -> None:
        super().__init__(
            f"the process that worked on the data {how}, most likely because it needed more memory than there is; send less at a time, "
            f"or give it more with {memory_setting} on a machine that has it"
        )


class OutOfMemory(ResourceExhausted):
    """An operation was refused memory.

    Args:
        memory_setting: What gives it more.
    """

    reason = "OUT_OF_MEMORY"

    def __init__(self, memory_setting: str) -> None:
        super().__init__(f"the operation needs more memory than it may take; send less at a time, or give it more with {memory_setting}")


class DataProcessUnavailable(Unavailable):
    """No process can be had: the server stops, or the machine starts none."""

    reason = "DATA_PROCESS_UNAVAILABLE"

    def __init__(self, why: str) -> None:
        super().__init__(f"there is no process to work on the data: {why}; repeat the call", retry_after_s=1)


class OperationTooLarge(InvalidArgument):
    """The arguments of an operation do not fit into one message."""

    reason = "OPERATION_TOO_LARGE"

    def __init__(self, size_bytes: int, most_bytes: int) -> None:
        super().__init__(f"the arguments have {size_bytes:,} bytes, and may have {most_bytes:,}; send less at a time")


class ResultTooLarge(ResourceExhausted):
    """The result of an operation does not fit into one message."""

    reason = "RESULT_TOO_LARGE"

    def __init__(self, size_bytes: int, most_bytes: int) -> None:
        super().__init__(f"the result has {size_bytes:,} bytes, and may have {most_bytes:,}; ask for fewer rows or columns")


def death(return_code: int, *, exit_status_out_of_memory: int, has_memory_limit: bool, memory_setting: str) -> DomainError:
    """Returns the error for a process that ended by itself.

    Args:
        return_code: As `subprocess` has it: the negative number of a signal that killed it.
        exit_status_out_of_memory: Its exit status where not even the error for want of memory could be sent.
        has_memory_limit: Whether it ran under a limit of memory.
        memory_setting: What gives it more.
    """
    if return_code >= 0:
        # Nothing here ends with status 1, but OpenBLAS does when it gets no memory.
        is_out_of_memory = return_code == exit_status_out_of_memory or (has_memory_limit and return_code == 1)
        how = f"ended with exit status {return_code}"
    else:
        # The kernel sends SIGKILL where memory runs out, and nobody else is known to. Native code that gets no memory aborts.
        is_out_of_memory = return_code == -signal.SIGKILL or (has_memory_limit and return_code == -signal.SIGABRT)
        how = f"was killed by {_signal_name(-return_code)}"
    return DataProcessOutOfMemory(how, memory_setting) if is_out_of_memory else DataProcessDied(how)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal without a name
        return f"signal {number}"
