"""Names of columns and steps as DuckDB sees them."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_STEP = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}", re.ASCII)
MOST_NAME_CHARACTERS = 255


def folded(name: str) -> str:
    """The form in which names are compared: DuckDB takes no notice of case, of ASCII letters only."""
    return name.translate(_LOWER)


def quoted(name: str) -> str:
    """A name as SQL has it, whatever its characters."""
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Quoted names, separated by commas."""
    return ", ".join(map(quoted, names))


def text_literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def is_step_name(name: str) -> bool:
    """Says whether a step may have this name: a letter, then letters, digits and underscores, at most 63 characters."""
    return _STEP.fullmatch(name) is not None


def is_column_name(name: str) -> bool:
    """Says whether a column may have this name: 1 to 255 characters, none of them NUL or the unit separator (U+001F), which is ours."""
    return 0 < len(name) <= MOST_NAME_CHARACTERS and not {"\0", "\x1f"} & set(name)
