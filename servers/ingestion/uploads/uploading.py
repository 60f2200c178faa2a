"""Uploads from their beginning to their end: what is known of them is in the database, their bytes are in the blob store.

A row comes before the bytes and goes before them. So bytes that nothing refers to are left where a server dies in between, and are swept;
a row never promises bytes that were taken away.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from blob_store import BlobStore, BlobStoreError, BlobTooLarge, OffsetMismatch
from blob_store import UploadNotFound as NoSuchBlob
from servers.ingestion.errors import FileTooLarge
from servers.ingestion.store import KnownUpload, Uploads
from servers.ingestion.uploads.errors import (
    TooManyBytes,
    TooManySenders,
    UploadIncomplete,
    UploadInUse,
    UploadLimitReached,
    UploadNotFound,
    WrongOffset,
)
from servers.runtime.effects import effect_id, made_before
from sql_engine import write

_LOGGER = logging.getLogger(__name__)

# Of the time that an upload is kept: how old its last renewal may become while bytes come.
_RENEWALS = 4


@dataclass(frozen=True, kw_only=True)
class UploadLimits:
    """What uploads may take."""

    file_bytes: int
    """Largest file."""
    count: int
    """Most uploads of a project that are there at the same time."""
    total_bytes: int
    """Most bytes that these have in all once they are whole."""
    senders: int
    """Most uploads that this server takes bytes of at the same time."""
    kept: timedelta
    """How long an upload is kept after its last piece."""


@dataclass(frozen=True)
class Upload:
    """An upload as it stands.

    Args:
        known: What is known of it.
        offset_bytes: Bytes that are stored.
    """

    known: KnownUpload
    offset_bytes: int

    @property
    def is_complete(self) -> bool:
        """Whether all of it is there."""
        return self.offset_bytes == self.known.size_bytes


class Uploading:
    """Takes files in pieces.

    Args:
        engine: The component's database.
        uploads: What is known of uploads.
        blobs: Where their bytes are.
        limits: What they may take.
        clock: The time now.
    """

    def __init__(
        self,
        engine: Engine,
        uploads: Uploads,
        blobs: BlobStore,
        limits: UploadLimits,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._uploads = uploads
        self._blobs = blobs
        self._limits = limits
        self._clock = clock
        self._places = threading.BoundedSemaphore(limits.senders)

    def begin(self, project: str, name: str, size_bytes: int) -> Upload:
        """Begins an upload.

        Raises:
            FileTooLarge: The file is larger than allowed.
            UploadLimitReached: The project has too many uploads. Of calls at the same time a few more may get through.
            blob_store.StorageFull: There is no room for it.
        """
        if (before := made_before(lambda upload_id: self.get(project, upload_id), UploadNotFound)) is not None:
            return before
        if size_bytes > self._limits.file_bytes:
            text = f"it has {size_bytes:,} bytes, and at most {self._limits.file_bytes:,} are allowed. Split it, or compress it"
            raise FileTooLarge(text, file=name)
        now = self._clock()
        new = KnownUpload(effect_id(), project, name, size_bytes, now + self._limits.kept)

        def announce(connection: Connection) -> None:
            # Of an earlier attempt at the request, which died before the bytes had a place.
            self._uploads.remove(connection, new.id)
            self._check_load(connection, project, size_bytes, now)
            self._uploads.add(connection, new)

        write(self._engine, announce)
        try:
            blob_id = self._blobs.begin_upload(None, size_bytes)
        except BaseException:
            write(self._engine, lambda connection: self._uploads.remove(connection, new.id))
            raise
        write(self._engine, lambda connection: self._uploads.place(connection, new.id, blob_id))
        return Upload(new, 0)

    def get(self, project: str, upload_id: str) -> Upload:
        """Returns where an upload stands.

        Raises:
            UploadNotFound: The project has none of this id.
        """
        known, blob_id = self._known(project, upload_id)
        try:
            return Upload(known, self._blobs.upload(blob_id).offset)
        except NoSuchBlob:
            raise UploadNotFound(upload_id, project) from None

    def completed(self, project: str, upload_id: str) -> Upload:
        """Returns an upload that is whole.

        Raises:
            UploadNotFound: The project has none of this id.
            UploadIncomplete: Bytes of it are missing.
        """
        found = self.get(project, upload_id)
        if not found.is_complete:
            raise UploadIncomplete(upload_id, found.offset_bytes, found.known.size_bytes)
        return found

    def append(self, project: str, upload_id: str, offset_bytes: int, chunks: Iterable[bytes]) -> Upload:
        """Takes bytes, in order; what came before it fails stays. A later caller wins over an earlier one that still sends.

        Args:
            project: Its project.
            upload_id: Which.
            offset_bytes: Where the bytes begin.
            chunks: The bytes.

        Raises:
            UploadNotFound: The project has none of this id, or no more.
            WrongOffset: The upload stands elsewhere.
            TooManyBytes: There are more than were announced.
            TooManySenders: The server takes too many uploads already.
            blob_store.StorageFull: There is no room for them. The upload can go on later.
        """
        known, blob_id = self._known(project, upload_id)
        with self._place():
            self._renew(known)
            try:
                self._blobs.append(blob_id, offset_bytes, self._renewing(known, chunks))
            except OffsetMismatch as error:
                raise WrongOffset(upload_id, offset_bytes, error.current_offset) from None
            except BlobTooLarge:
                raise TooManyBytes(known.size_bytes) from None
            except NoSuchBlob:
                raise UploadNotFound(upload_id, project) from None
            self._renew(known)
        return self.get(project, upload_id)

    def delete(self, project: str, upload_id: str) -> None:
        """Forgets an upload and its bytes.

        Raises:
            UploadNotFound: The project has none of this id.
            UploadInUse: An ingestion needs it.
        """
        known, blob_id = self._known(project, upload_id)

        def forget(connection: Connection) -> None:
            if (ingestion_id := self._uploads.user(connection, known.id)) is not None:
                raise UploadInUse(known.id, ingestion_id)
            self._uploads.remove(connection, known.id)

        write(self._engine, forget)
        self._take_away(blob_id)

    def sweep(self) -> int:
        """Takes away uploads whose time is over, and bytes of those that nobody knows of; returns how many of the former there were."""
        now, count = self._clock(), 0
        for upload_id, blob_id in self._uploads.expired(now):
            if self._is_forgotten(upload_id, now):
                count += 1
                if blob_id is not None:
                    self._take_away(blob_id)
        # What is younger may be about to be written down.
        self._blobs.remove_stale(now - self._limits.kept, keep=self._uploads.blob_ids())
        return count

    def _is_forgotten(self, upload_id: str, now: datetime) -> bool:
        return write(self._engine, lambda connection: self._uploads.remove_expired(connection, upload_id, now))

    def _known(self, project: str, upload_id: str) -> tuple[KnownUpload, str]:
        known = self._uploads.find(project, upload_id, self._clock())
        if known is None or known.blob_id is None:
            raise UploadNotFound(upload_id, project)
        return known, known.blob_id

    def _check_load(self, connection: Connection, project: str, size_bytes: int, now: datetime) -> None:
        count, total_bytes = self._uploads.load(connection, project, now)
        if count >= self._limits.count:
            raise UploadLimitReached(f"more than {self._limits.count:,} files", "max_uploads")
        if total_bytes + size_bytes > self._limits.total_bytes:
            raise UploadLimitReached(f"more than {self._limits.total_bytes:,} bytes", "max_upload_bytes")

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise TooManySenders(self._limits.senders)
        try:
            yield
        finally:
            self._places.release()

    def _renewing(self, known: KnownUpload, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Gives the chunks, and lets the upload live meanwhile: a slow line may need days."""
        due = self._clock() + self._limits.kept / _RENEWALS
        for chunk in chunks:
            if (now := self._clock()) >= due:
                self._renew(known)
                due = now + self._limits.kept / _RENEWALS
            yield chunk

    def _renew(self, known: KnownUpload) -> None:
        now = self._clock()
        if not write(self._engine, lambda connection: self._uploads.renew(connection, known.id, now, now + self._limits.kept)):
            raise UploadNotFound(known.id, known.project)

    def _take_away(self, blob_id: str) -> None:
        try:
            self._blobs.abort_upload(blob_id)
        except BlobStoreError as error:
            # Nothing refers to it any more, so a later sweep finds it.
            _LOGGER.warning("bytes of an upload stay for now: %s", error)
