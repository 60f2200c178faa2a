"""What a stream reads ahead lies on local disk."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from servers.ingestion.streams.incoming import GivenBatch, Incoming
from servers.ingestion.streams.target import Target
from servers.ingestion.table_errors import StorageFull

TARGET = Target("default", "readings", "sensor-17", "APPEND", (), {}, {})


def reading(folder: Path, batches: Sequence[GivenBatch]) -> Incoming:
    incoming = Incoming(lambda: (TARGET, iter(batches)), folder, most_bytes=1 << 20, most_batches=1000)
    incoming.start()
    return incoming


def test_a_batch_that_is_sent_again_and_again_waits_as_often(tmp_path: Path) -> None:
    incoming = reading(tmp_path, [GivenBatch(7, "NDJSON", b"%d" % number) for number in range(300)])
    waiting = []
    while not incoming.is_over:
        waiting += incoming.take(10)
    assert [(batch.sequence, batch.path.read_bytes()) for batch in waiting] == [(7, b"%d" % number) for number in range(300)]


def test_a_full_disk_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    incoming = reading(tmp_path, [GivenBatch(1, "NDJSON", b"{}")])
    with pytest.raises(StorageFull):
        incoming.take(10)
