"""What an online store is: the newest vector of each entity, for each version of a feature view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

__all__ = ["MAX_VIEW_BYTES", "OnlineRow", "OnlineStore", "Written", "batches_of", "encoded_view"]

MAX_VIEW_BYTES = 200
"""Longest name of a view, in bytes of UTF-8: with a slot it has to fit into a key of LMDB."""


class OnlineRow(NamedTuple):
    """A vector to be stored.

    Args:
        key: The entity's, see `entity_keys`.
        vector: As `encode_vectors` made it; it says itself how new it is.
    """

    key: bytes
    vector: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """What became of rows.

    Args:
        written: So many are what the store has now, or had until a newer one came.
        kept_newer: So many changed nothing: the store had a newer vector of the entity, or the very same.
    """

    written: int
    kept_newer: int

    def __add__(self, other: Written) -> Written:
        return Written(self.written + other.written, self.kept_newer + other.kept_newer)


class OnlineStore(Protocol):
    """Vectors by view and entity.

    Every implementation keeps these promises: a vector is there whole or not at all, whatever dies in between; of all vectors that were
    written for an entity the newest is kept (see `recency`), in whatever order and from however many processes they come, and writing one
    twice is writing it once; what a write has returned, the next read finds.

    A view is the name of one version of a feature view, for example `fraud/user_features@3`: 1 to 200 bytes of UTF-8. It needs no making.
    Methods may be called from several threads. All raise `OnlineStoreUnavailable`, and those that write also `OnlineStoreFull`.

    A deletion leaves no tombstone. One without a time could not tell a late vector from a new one, and one with a time is a vector of
    nulls, which can be written and wins against all older ones.
    """

    def write(self, view: str, rows: Iterable[OnlineRow]) -> Written:
        """Store vectors, in bounded batches. Where one fails, the batches before it stay; repeating all of them does no harm.

        Args:
            view: Where.
            rows: What; an entity may come more than once.

        Raises:
            EntityKeyCollision: If a key cannot be kept beside another one.
        """
        ...

    def read(self, view: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the vector of each key, in one round trip; None where there is none."""
        ...

    def read_many(self, keys: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes | None]]:
        """Return the vectors of the keys of several views, in one round trip."""
        ...

    def delete(self, view: str, keys: Sequence[bytes]) -> int:
        """Take vectors away, and return how many there were. A vector that is written later is stored, however old."""
        ...

    def remove_older(self, view: str, before_us: int) -> int:
        """Take away vectors whose event time is before a time, in bounded batches, and return how many there were.

        Nobody is given a vector that is too old: `read_views` decides that by its event time. This gives back its room, and is meant to run
        in the background with a time well before what readers still take.

        Args:
            view: Where.
            before_us: Microseconds since 1970-01-01 UTC.
        """
        ...

    def drop(self, view: str) -> None:
        """Take away all vectors of a view that nobody writes to any more. Nothing happens where there are none."""
        ...

    def count(self, view: str) -> int:
        """Return of how many entities a view has a vector. LMDB and PostgreSQL count them one by one."""
        ...

    def check(self) -> None:
        """Find out whether the store can be reached and used.

        Raises:
            OnlineStoreMisconfigured: If it would lose vectors.
        """
        ...

    def close(self) -> None:
        """Give back connections and files."""
        ...


def encoded_view(view: str) -> bytes:
    """Return a view's name as UTF-8.

    Raises:
        ValueError: If it is empty or too long.
    """
    encoded = view.encode()
    if not 1 <= len(encoded) <= MAX_VIEW_BYTES or "\0" in view:
        raise ValueError(f"a view's name has 1 to {MAX_VIEW_BYTES} bytes of UTF-8 without zeros, not {view[:50]!r} ({len(encoded)})")
    return encoded


def batches_of(rows: Iterable[OnlineRow], max_rows: int, max_bytes: int) -> Iterator[list[OnlineRow]]:
    """Cut rows into batches of bounded length and size; a row that is larger is a batch of its own."""
    batch: list[OnlineRow] = []
    size = 0
    for row in rows:
        row_bytes = len(row[0]) + len(row[1])
        if batch and (len(batch) >= max_rows or size + row_bytes > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += row_bytes
    if batch:
        yield batch
