"""Vectors in LMDB: a memory map that all processes of a machine share. Reading takes no lock and asks no server."""

from __future__ import annotations

import errno
import itertools
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import lmdb
import psutil

from servers.features.online.errors import EntityKeyCollision, OnlineStoreFull, OnlineStoreMisconfigured, OnlineStoreUnavailable
from servers.features.online.keys import is_hashed, slot_of
from servers.features.online.recency import time_prefix
from servers.features.online.store import OnlineRow, Written, batches_of, encoded_view

__all__ = ["LmdbOnlineStore"]

_Result = TypeVar("_Result")

_BATCH_ROWS = 1000
_BATCH_BYTES = 8 << 20
_STEP_ROWS = 1000
_ROOM_TO_REMOVE = 16 << 20
_PAGE = 4096
_KEY_LENGTH = struct.Struct("<I")
_OF_THE_NETWORK = ("9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs")


class LmdbOnlineStore:
    """Vectors in a folder of a local disk; one object a process and folder, since LMDB may open a file only once.

    The map is laid out for the whole limit at once, which reserves addresses and neither memory nor disk: the file grows by itself, and
    readers are never stopped to map it anew. That is left for processes with different limits.

    Args:
        folder: Where; made where it does not exist, for this user alone.
        max_bytes: How large the file may become.
        max_readers: Reads at the same time, of all processes. The first process that opens the folder decides.

    Raises:
        OnlineStoreMisconfigured: If the folder is not on a local disk, or this process has it open already.
        OnlineStoreUnavailable: If it cannot be used.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 16 << 30, max_readers: int = 1024) -> None:
        self._max_bytes = -(-max_bytes // _PAGE) * _PAGE
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_is_local(folder)
        self._generation = 0
        self._writers = threading.Lock()
        try:
            # No thread-local slots: threads come and go. No read-ahead: entities are asked for at random.
            self._env = lmdb.open(
                str(folder), map_size=self._max_bytes, mode=0o700, max_readers=max_readers, readahead=False, max_spare_txns=16
            )
            self._env.reader_check()
        except lmdb.Error as error:
            if "already open" in str(error):
                raise OnlineStoreMisconfigured(f"this process has the folder {folder} open already; share one store") from None
            raise OnlineStoreUnavailable(f"LMDB in {folder}: {error}") from None

    def write(self, view: str, rows: Iterable[OnlineRow]) -> Written:
        """See `OnlineStore`. A batch is one transaction, on the disk when this returns."""
        prefix = _prefix(view)
        written = Written(0, 0)
        for batch in batches_of(rows, _BATCH_ROWS, _BATCH_BYTES):
            slots = [slot_of(key) for key, _ in batch]
            # In order, a page of the tree is changed once.
            ordered = sorted(zip(slots, batch, strict=True))
            try:
                written += self._retried(partial(self._committed, partial(_write, prefix, ordered)))
            except lmdb.MapFullError:
                raise OnlineStoreFull(
                    f"LMDB has reached its limit of {self._max_bytes:,} bytes; remove vectors or raise the limit"
                ) from None
        return written

    def read(self, view: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `OnlineStore`."""
        return self.read_many({view: keys})[view]

    def read_many(self, keys: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes | None]]:
        """See `OnlineStore`. All vectors are of one moment."""
        return self._retried(lambda: self._read_many(keys))

    def delete(self, view: str, keys: Sequence[bytes]) -> int:
        """See `OnlineStore`."""
        prefix = _prefix(view)

        def work(txn: lmdb.Transaction[bytes]) -> int:
            found = [(slot, key, txn.get(prefix + slot)) for slot, key in {slot_of(key): key for key in keys}.items()]
            return sum(
                txn.delete(prefix + slot) for slot, key, kept in found if kept is not None and _vector_of(key, slot, kept) is not None
            )

        return self._removing(work)

    def remove_older(self, view: str, before_us: int) -> int:
        """See `OnlineStore`."""
        prefix, threshold = _prefix(view), time_prefix(before_us)

        def is_older(name: bytes, kept: bytes) -> bool:
            return _vector_in(name[len(prefix) :], kept)[:8] < threshold

        return self._remove(prefix, is_older)

    def drop(self, view: str) -> None:
        """See `OnlineStore`. Readers see it go piece by piece."""
        self._remove(_prefix(view), lambda _name, _kept: True)

    def count(self, view: str) -> int:
        """See `OnlineStore`."""
        prefix = _prefix(view)

        def work() -> int:
            with self._env.begin() as txn, txn.cursor() as cursor:
                return sum(1 for _ in _names(cursor, prefix)) if cursor.set_range(prefix) else 0

        return self._retried(work)

    def check(self) -> None:
        """See `OnlineStore`. Also frees the slots of readers that were killed, whose pages could not be used again."""
        self._retried(self._env.reader_check)
        self._retried(lambda: self._read_many({"check": [b""]}))

    def close(self) -> None:
        """See `OnlineStore`."""
        self._env.close()

    def _read_many(self, keys: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes | None]]:
        with self._env.begin() as txn:
            get = txn.get
            vectors: dict[str, list[bytes | None]] = {}
            for view, wanted in keys.items():
                prefix = _prefix(view)
                slots = [slot_of(key) for key in wanted]
                found = [get(prefix + slot) for slot in slots]
                vectors[view] = [
                    kept if kept is None or not is_hashed(slot) else _vector_of(key, slot, kept)
                    for key, slot, kept in zip(wanted, slots, found, strict=True)
                ]
            return vectors

    def _remove(self, prefix: bytes, is_condemned: Callable[[bytes, bytes], bool]) -> int:
        removed = 0
        after: bytes | None = prefix
        while after is not None:
            names, after = self._retried(partial(self._condemned, prefix, after, is_condemned))
            if names:
                removed += self._removing(partial(_remove_still, names, is_condemned))
        return removed

    def _condemned(self, prefix: bytes, start: bytes, is_condemned: Callable[[bytes, bytes], bool]) -> tuple[list[bytes], bytes | None]:
        """Returns some names to be removed, and where to go on; None at the end. Short reads: a long one keeps old pages in use."""
        with self._env.begin() as txn, txn.cursor() as cursor:
            if not cursor.set_range(start):
                return [], None
            found: list[bytes] = []
            for name, kept in itertools.islice(cursor.iternext(), _STEP_ROWS):
                if not name.startswith(prefix):
                    return found, None
                if is_condemned(name, kept):
                    found.append(name)
                last = name
            return found, last + b"\0"

    def _removing(self, work: Callable[[lmdb.Transaction[bytes]], int]) -> int:
        """Runs a transaction that removes. It takes pages before it gives some back, so a full store is larger as long as that takes."""
        try:
            return self._retried(lambda: self._committed(work))
        except lmdb.MapFullError:
            self._map_anew(self._generation, self._env.info()["map_size"] + _ROOM_TO_REMOVE)
            try:
                return self._retried(lambda: self._committed(work))
            except lmdb.MapFullError:
                raise OnlineStoreFull(f"LMDB finds no room to remove vectors within {self._max_bytes:,} bytes; raise its limit") from None
            finally:
                self._map_anew(self._generation, self._max_bytes)

    def _committed(self, work: Callable[[lmdb.Transaction[bytes]], _Result]) -> _Result:
        # LMDB lets one writer in at a time; with this lock none is in while the map is replaced.
        with self._writers, self._env.begin(write=True) as txn:
            return work(txn)

    def _retried(self, work: Callable[[], _Result]) -> _Result:
        """Runs a transaction, and again where the map was replaced: for a process with a larger limit, or by another thread meanwhile."""
        while True:
            generation = self._generation
            try:
                return work()
            except lmdb.MapFullError:
                raise
            except lmdb.MapResizedError:
                self._map_anew(generation, 0)
            except lmdb.Error as error:
                if error.code == errno.ENOSPC:
                    raise OnlineStoreFull("the disk of the online store is full; free space, then repeat the call") from None
                with self._writers:
                    is_stale = generation != self._generation
                if not is_stale:
                    raise OnlineStoreUnavailable(f"LMDB: {error}") from None

    def _map_anew(self, generation: int, size: int) -> None:
        """Maps the file with another size (0 = what it has now), unless another thread just did. Reads under way fail, and are repeated."""
        with self._writers:
            if generation == self._generation:
                self._env.set_mapsize(size)
                self._generation += 1


def _prefix(view: str) -> bytes:
    encoded = encoded_view(view)
    return bytes([len(encoded)]) + encoded


def _write(prefix: bytes, ordered: Sequence[tuple[bytes, OnlineRow]], txn: lmdb.Transaction[bytes]) -> Written:
    count = 0
    for slot, (key, vector) in ordered:
        name = prefix + slot
        kept = txn.get(name)
        if kept is not None:
            current = _vector_of(key, slot, kept)
            if current is None:
                raise EntityKeyCollision("two entity keys have the same SHA-256; change the join keys of one")
            if vector <= current:
                continue
        txn.put(name, _kept(key, slot, vector))
        count += 1
    return Written(count, len(ordered) - count)


def _kept(key: bytes, slot: bytes, vector: bytes) -> bytes:
    return _KEY_LENGTH.pack(len(key)) + key + vector if is_hashed(slot) else vector


def _vector_of(key: bytes, slot: bytes, kept: bytes) -> bytes | None:
    """Returns the vector of a key from what its slot holds; None if that is another key's."""
    if not is_hashed(slot):
        return kept
    start = _KEY_LENGTH.size
    end = start + _KEY_LENGTH.unpack_from(kept)[0]
    return kept[end:] if kept[start:end] == key else None


def _vector_in(slot: bytes, kept: bytes) -> bytes:
    return kept[_KEY_LENGTH.size + _KEY_LENGTH.unpack_from(kept)[0] :] if is_hashed(slot) else kept


def _remove_still(names: Sequence[bytes], is_condemned: Callable[[bytes, bytes], bool], txn: lmdb.Transaction[bytes]) -> int:
    """Removes what is still to be removed: a newer vector may have come since it was found."""
    removed = 0
    for name in names:
        kept = txn.get(name)
        if kept is not None and is_condemned(name, kept):
            removed += txn.delete(name)
    return removed


def _names(cursor: lmdb.Cursor[bytes], prefix: bytes) -> Iterator[bytes]:
    return itertools.takewhile(lambda name: name.startswith(prefix), cursor.iternext(keys=True, values=False))


def _check_is_local(folder: Path) -> None:
    path = folder.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if path.is_relative_to(part.mountpoint)]
    kind = max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else ""
    if kind in _OF_THE_NETWORK:
        raise OnlineStoreMisconfigured(
            f"{folder} is on {kind}; LMDB corrupts its file there. Use a local disk, or redis:// or postgresql://"
        )
