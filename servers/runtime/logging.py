"""Structured logs: one JSON object a line on stderr, with the trace and request they belong to, and without secrets."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

from servers.runtime.calls import current_call
from servers.runtime.tracing import current_trace

_HIDDEN = "[hidden]"
_MAX_TEXT_CHARS = 16_384
_SECRETS = (
    # JSON Web Tokens, API keys, whatever stands behind an authorization scheme.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?"), _HIDDEN),
    (re.compile(r"\bmlm_([A-Za-z0-9]+)_[A-Za-z0-9]+"), rf"mlm_\1_{_HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {_HIDDEN}"),
    # `password=…`, `"secret": "…"`, and the password of a URL.
    (
        re.compile(
            r"(?i)\b((?:[a-z]+_)?(?:password|passwd|secret|token|api_key|authorization|private_key))(['\"]?\s*[:=]\s*)(['\"]?)[^\s'\",;&}]+"
        ),
        rf"\1\2\3{_HIDDEN}",
    ),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+@"), rf"\1{_HIDDEN}@"),
)


def redacted(text: str) -> str:
    """Hides what looks like a secret.

    Args:
        text: Anything about to be logged.

    Returns:
        The text with tokens, keys and passwords replaced by `[hidden]`.
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redacted(record.getMessage())[:_MAX_TEXT_CHARS],
        }
        trace = current_trace()
        if trace is not None:
            line |= {"trace_id": trace.trace_id, "span_id": trace.span_id}
        try:
            line["request_id"] = current_call().request_id
        except LookupError:
            if isinstance(getattr(record, "request_id", None), str):
                line["request_id"] = getattr(record, "request_id")  # noqa: B009 - an attribute that only some records have
        facts = getattr(record, "facts", None)
        if isinstance(facts, dict):
            line |= {key: redacted(value) if isinstance(value, str) else value for key, value in facts.items()}
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))[-_MAX_TEXT_CHARS:]
        return json.dumps(line, ensure_ascii=False, default=str, separators=(",", ":"))


def configure_logging(level: str = "INFO", stream: TextIO | None = None) -> None:
    """Sends all logs of the process to one stream as JSON lines. Called once, by whoever owns the process.

    Args:
        level: Least severe level to log.
        stream: Where to; None = stderr.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    # These log a line for every request, migration or plugin of theirs at INFO.
    for noisy in ("httpx", "alembic", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
