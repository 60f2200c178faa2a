"""What a job's process says: lines of its standard error, to which its standard output goes, too.

Lines of its loggers are JSON behind a mark that only the server and the process know, so that they keep level and source, and come in one
order with what the process, the libraries and the functions in it print.
"""

from __future__ import annotations

import ctypes
import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from servers.processing.log_lines import LogLine, shortened

LINE_MARK = "line_mark"
"""Name of the setting that has the mark."""

PRINTED = "output"
"""Source of lines that nobody gave one."""

# A text of 16 KiB as JSON, where each character may be escaped.
_MOST_LINE_BYTES = 128 * 1024
_PR_SET_CHILD_SUBREAPER = 36


def open_output(mark: str) -> None:
    """Has everything that this process says become lines, at once.

    Args:
        mark: Stands before lines of loggers.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    handler = _Marked(mark)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    _adopt_orphans()


def _adopt_orphans() -> None:
    """Makes this process the parent of what its children leave behind, so that the server finds all of them below it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class _Marked(logging.Handler):
    def __init__(self, mark: str) -> None:
        super().__init__()
        self._mark = mark
        self._writing = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            fields = {"time": record.created, "level": record.levelname, "source": record.name, "text": shortened(text)}
            # What was printed may have no line end yet.
            line = f"\n{self._mark}{json.dumps(fields, ensure_ascii=False)}\n".encode("utf-8", "backslashreplace")
            with self._writing:
                sys.stdout.flush()
                while line:
                    line = line[os.write(2, line) :]
        except Exception:
            self.handleError(record)


class LineReader:
    """Makes lines of what a process says.

    Args:
        mark: Stands before lines of its loggers.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark.encode()
        self._begun = b""

    def lines(self, piece: bytes) -> Iterator[LogLine]:
        """Gives the lines that a piece completes. Of one that is too long the beginning is kept."""
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._add(end)
            yield from self._line()
        self._add(rest)

    def last(self) -> Iterator[LogLine]:
        """Gives what has no line end."""
        if self._begun:
            yield from self._line()

    def _add(self, part: bytes) -> None:
        self._begun += part[: _MOST_LINE_BYTES - len(self._begun)]

    def _line(self) -> Iterator[LogLine]:
        line, self._begun = self._begun.rstrip(b"\r"), b""
        if line.startswith(self._mark):
            try:
                fields = json.loads(line[len(self._mark) :])
                yield LogLine(datetime.fromtimestamp(fields["time"], UTC), _level(fields["level"]), fields["source"], fields["text"])
            except (ValueError, KeyError, TypeError):
                pass
            else:
                return
        if line:
            text = line.decode("utf-8", "backslashreplace")
            yield LogLine(datetime.fromtimestamp(time.time(), UTC), "INFO", PRINTED, shortened(text))


def _level(name: str) -> str:
    return {"CRITICAL": "ERROR"}.get(name, name) if name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"
