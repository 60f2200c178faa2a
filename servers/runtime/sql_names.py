"""Names of columns as DuckDB sees them."""

from __future__ import annotations

import string

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
MOST_NAME_CHARACTERS = 255


def folded(name: str) -> str:
    """The form in which names are compared: DuckDB takes no notice of case, of ASCII letters only."""
    return name.translate(_LOWER)


def quoted(name: str) -> str:
    """A name as SQL has it, whatever its characters."""
    return '"' + name.replace('"', '""') + '"'


def is_column_name(name: str) -> bool:
    """Says whether a column may have this name: 1 to 255 characters, none of them NUL or the unit separator (U+001F), which is ours."""
    return 0 < len(name) <= MOST_NAME_CHARACTERS and not {"\0", "\x1f"} & set(name)
