"""Names as the expressions of a plan have them, which are DuckDB's."""

from __future__ import annotations

import string

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_MOST_CHARACTERS = 255


def folded(name: str) -> str:
    """The form in which names are compared: case of ASCII letters does not count."""
    return name.translate(_LOWER)


def quoted(name: str) -> str:
    """A name as an expression has it, whatever its characters."""
    return '"' + name.replace('"', '""') + '"'


def is_column_name(name: str) -> bool:
    """Says whether a plan can have a column of this name."""
    return 0 < len(name) <= _MOST_CHARACTERS and not {"\0", "\x1f"} & set(name)
