"""The end of what a process writes."""

from __future__ import annotations

import asyncio
import os
from typing import IO


class LastOutput:
    """Reads from a pipe on the running event loop, and keeps the last bytes.

    Args:
        pipe: Where the process writes; closed by this.
        size_bytes: How much is kept.
    """

    def __init__(self, pipe: IO[bytes], size_bytes: int) -> None:
        self._pipe = pipe
        self._size_bytes = size_bytes
        self._kept = bytearray()
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when nobody can write any more, or `close` was called."""
        self._loop.add_reader(pipe.fileno(), self._read)

    @property
    def text(self) -> str:
        """What is kept."""
        return self._kept.decode("utf-8", "replace")

    def close(self) -> None:
        """Reads no further; safe to call twice."""
        if not self.ended.done():
            self._loop.remove_reader(self._pipe.fileno())
            self._pipe.close()
            self.ended.set_result(None)

    def _read(self) -> None:
        written = os.read(self._pipe.fileno(), self._size_bytes)
        if not written:
            self.close()
        self._kept += written
        del self._kept[: -self._size_bytes]
