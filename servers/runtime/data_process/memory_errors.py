"""Whether an error is for want of memory. Libraries in three languages each have their own words for that."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from servers.runtime.errors import DomainError

_WORDS = re.compile(
    r"os error 12\b|[Cc]annot allocate memory|std::bad_alloc|memory allocation of \d+ bytes|failed to map segment|can't start new thread"
    r"|failed to spawn|OS can't spawn"
)
_OTHER_REASONS = (DomainError, ValueError, TypeError, KeyError)
"""Errors whose texts may have words of a file in them."""


def is_out_of_memory(error: BaseException) -> bool:
    """Says whether an error, or one that it came from, is for want of memory."""
    return any(map(_is_out_of_memory, _with_causes(error)))


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return not isinstance(error, _OTHER_REASONS) and _WORDS.search(str(error)) is not None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: list[BaseException] = [error]
    while found:
        each = found.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            # The context also where it is not shown: readers turn any error of Arrow into one of the file, `from None`.
            found += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
