"""Local disks without space, as the error that callers learn."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from servers.ingestion.table_errors import StorageFull


@contextmanager
def noticing_full_disks() -> Iterator[None]:
    """Turns what the system says of a full disk, or of a quota that is used up, into `StorageFull`.

    Raises:
        StorageFull: RESOURCE_EXHAUSTED: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull from error
        raise
