"""Lines of the logs of jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mlops.common.v1 import log_pb2

from mlmesh.fields import enum_name


@dataclass(frozen=True)
class LogLine:
    """One line of a log.

    Args:
        time: When it was written.
        level: `debug`, `info`, `warning` or `error`.
        source: Which process wrote it, for example `worker-0`.
        text: The text, without the line end.
    """

    time: datetime
    level: str
    source: str
    text: str


def log_line_value(message: log_pb2.LogLine) -> LogLine:
    """Reads a line."""
    return LogLine(message.time.ToDatetime(UTC), enum_name(log_pb2.LogLevel, message.level), message.source, message.text)
