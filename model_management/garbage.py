"""Takes away what nobody needs any more: versions after their retention, and blobs that no version refers to.

A blob is removed only if it was stored (or stored again, which renews its time) before the grace period and no version refers to it.
A save stores its blobs first and refers to them within the grace period; whoever refers to older blobs holds the collection lock
(`catalog`). Two registries must not share a blob store: each would remove the other's blobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from blob_store import Blob, BlobStore
from model_management.metadata.backend import CollectableBackend

__all__ = ["GarbageCollector", "GarbageReport", "Retention"]

_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept that nobody needs.

    Args:
        deleted: For how long what was deleted, or FAILED, can be restored.
        pending: How long a version may wait for its files.
        grace: How old a blob has to be before it can be garbage; longer than the longest save.
    """

    deleted: timedelta = timedelta(days=30)
    pending: timedelta = timedelta(days=1)
    grace: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class GarbageReport:
    """What a collection removed, or would remove.

    Args:
        removed_blob_count: Blobs.
        freed_bytes: Their size.
        purged_version_count: Versions whose retention has ended; their numbers are never used again.
        purged_model_count: Models whose retention has ended.
        failed_version_count: PENDING versions that were given up.
    """

    removed_blob_count: int = 0
    freed_bytes: int = 0
    purged_version_count: int = 0
    purged_model_count: int = 0
    failed_version_count: int = 0


class GarbageCollector:
    """Collects the garbage of one registry. Several may run at once, in several processes.

    Args:
        metadata: Says what is referred to.
        blobs: Where the blobs are.
        retention: How long things are kept.
        clock: Tells the time, in UTC.
        clean: Takes away what interrupted saves left elsewhere, older than a time.
    """

    def __init__(
        self,
        metadata: CollectableBackend,
        blobs: BlobStore,
        *,
        retention: Retention,
        clock: Callable[[], datetime],
        clean: Callable[[datetime], object] = lambda _before: None,
    ) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._retention = retention
        self._clock = clock
        self._clean = clean

    def collect(self, *, dry_run: bool = False) -> GarbageReport:
        """Purge what was deleted long ago, and remove blobs that nothing refers to.

        Args:
            dry_run: Whether to only say what would be done.
        """
        now = self._clock()
        purge_before, stored_before = now - self._retention.deleted, now - self._retention.grace
        purged = self._metadata.purge(before=purge_before, pending_before=now - self._retention.pending, dry_run=dry_run)
        if not dry_run:
            self._blobs.remove_stale(stored_before)
            self._clean(stored_before)
        removed = freed = 0
        for batch in _batches(blob for blob in self._blobs.iterate() if blob.stored_time < stored_before):
            for blob in self._remove(batch, purge_before, stored_before, dry_run=dry_run):
                removed += 1
                freed += blob.size_bytes
        return GarbageReport(removed, freed, purged.version_count, purged.model_count, purged.failed_count)

    def _remove(self, batch: list[Blob], purge_before: datetime, stored_before: datetime, *, dry_run: bool) -> list[Blob]:
        with self._metadata.collection_lock(exclusive=True):
            used = self._metadata.referenced([blob.digest for blob in batch], purged_before=purge_before if dry_run else None)
            unused = [blob for blob in batch if blob.digest not in used]
            if dry_run:
                return unused
            return [blob for blob in unused if self._blobs.delete(blob.digest, if_stored_before=stored_before)]


def _batches(blobs: Iterable[Blob]) -> Iterator[list[Blob]]:
    iterator = iter(blobs)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
