"""Lines of logs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

MOST_TEXT_BYTES = 16 * 1024
_CUT = "…"


@dataclass(frozen=True)
class LogLine:
    """A line of a job's log.

    Args:
        time: When it was written.
        level: DEBUG, INFO, WARNING or ERROR.
        source: Who wrote it: `job` is the server, `output` what the job's process printed, others are loggers of that process.
        text: Without the line end, at most 16 KiB.
    """

    time: datetime
    level: str
    source: str
    text: str


def shortened(text: str) -> str:
    """A text as a line may have it: at most 16 KiB in UTF-8, and without NULs, which PostgreSQL keeps none of."""
    raw = text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "backslashreplace")
    if len(raw) <= MOST_TEXT_BYTES:
        return raw.decode()
    return raw[: MOST_TEXT_BYTES - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT
