"""Names of steps, and texts, as SQL has them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from servers.runtime.sql_names import quoted

_STEP = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}", re.ASCII)


def listed(names: Iterable[str]) -> str:
    """Quoted names, separated by commas."""
    return ", ".join(map(quoted, names))


def text_literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def is_step_name(name: str) -> bool:
    """Says whether a step may have this name: a letter, then letters, digits and underscores, at most 63 characters."""
    return _STEP.fullmatch(name) is not None
