"""What columns may be called."""

from __future__ import annotations

import re

from servers.ingestion.table_errors import InvalidColumn

_MOST_CHARACTERS = 255
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f`]")
"""Control characters break logs, and deltalake 1.6 does not quote a backtick in a merge."""


def check_column_name(name: str) -> None:
    """Refuses a name that no table can have.

    Raises:
        InvalidColumn: INVALID_ARGUMENT: it is empty, too long, or has a character that cannot be stored.
    """
    if not name or len(name) > _MOST_CHARACTERS or _FORBIDDEN.search(name):
        raise InvalidColumn(name, "has a name that cannot be stored", "a name has 1 to 255 characters and no backtick or control character")
