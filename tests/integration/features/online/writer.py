"""A process that writes vectors, and may be killed meanwhile; run as a program."""

from __future__ import annotations

import sys

from servers.features.online import OnlineRow, open_online_store
from servers.features.online.recency import time_prefix

KEYS = 200
SIZE = 3000


def vector_of(event_time: int, write_time: int, fill: int, size: int = SIZE) -> bytes:
    """Return bytes that begin as a vector does, and go on with one byte."""
    return time_prefix(event_time) + time_prefix(write_time) + bytes([fill % 256]) * size


def write_forever(url: str, view: str) -> None:
    """Write all keys again and again, each time a later event, and say after each time which."""
    store = open_online_store(url, timeout_s=60)
    event_time = 0
    while True:
        event_time += 1
        vector = vector_of(event_time, event_time, event_time)
        store.write(view, [OnlineRow(b"key %d" % key, vector) for key in range(KEYS)])
        print(event_time, flush=True)


if __name__ == "__main__":
    write_forever(*sys.argv[1:])
