"""What a registry server does with versions whose files arrive as blobs: checks them, refers to them, reads and verifies them.

Everything that touches metadata alone (aliases, stages, lists, …) is `MetadataBackend`'s, at `ModelCatalog.metadata`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from blob_store import Blob, BlobNotFound, BlobReader, BlobStore, DigestMismatch
from model_management.comparison import Comparison, compare
from model_management.errors import BlobsMissing, FileDamaged, InvalidValue
from model_management.garbage import GarbageCollector, GarbageReport, Retention
from model_management.metadata.backend import CollectableBackend
from model_management.model import FileEntry, ModelVersion, NewVersion, VersionState
from model_management.signing import MOST_SIGNATURE_BYTES, SIGNATURE_FILE, SignatureCheck, SignatureVerdict, TrustedKey, check_digests

__all__ = ["ModelCatalog", "Verification"]

_WORKERS = 8

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying a version found.

    Args:
        damaged_paths: Files that are missing or are not what was saved.
        signature: Whether a trusted key has signed what is stored now.
    """

    damaged_paths: tuple[str, ...]
    signature: SignatureCheck

    @property
    def is_intact(self) -> bool:
        """Whether every file is as it was saved."""
        return not self.damaged_paths

    @property
    def is_signed(self) -> bool:
        """Whether the version carries a signature, of whatever worth."""
        return self.signature.verdict is not SignatureVerdict.UNSIGNED


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ModelCatalog:
    """Versions over metadata and blobs.

    Args:
        metadata: Models and versions.
        blobs: Their files.
        retention: How long things are kept that nobody needs.
        clock: Tells the time, in UTC.
        clean: Takes away what interrupted saves left elsewhere, older than a time.
        trusted_keys: Whose signatures of versions count.
    """

    def __init__(
        self,
        metadata: CollectableBackend,
        blobs: BlobStore,
        *,
        retention: Retention | None = None,
        clock: Callable[[], datetime] = _utc_now,
        clean: Callable[[datetime], object] = lambda _before: None,
        trusted_keys: Sequence[TrustedKey] = (),
    ) -> None:
        self.metadata = metadata
        self.blobs = blobs
        self._retention = retention or Retention()
        self._clock = clock
        self._trusted_keys = tuple(trusted_keys)
        self._collector = GarbageCollector(metadata, blobs, retention=self._retention, clock=clock, clean=clean)

    def register_version(
        self,
        project: str,
        model: str,
        new: NewVersion,
        *,
        create_model: bool = False,
        creator: str = "",
        request_id: str | None = None,
    ) -> ModelVersion:
        """Create the next version from blobs that are stored already; PENDING where it names no files.

        See `MetadataBackend.create_version` for arguments and errors.

        Raises:
            BlobsMissing: If a file's blob is not stored, or has another size.
        """
        with self._checked(new.files):
            return self.metadata.create_version(project, model, new, create_model=create_model, creator=creator, request_id=request_id)

    def attach_file(self, project: str, model: str, version: int, path: str, digest: str) -> ModelVersion:
        """Add a stored blob as a file to a PENDING version, in place of one of the same path.

        Raises:
            BlobsMissing: If the blob is not stored.
            IllegalTransition: If the version is not PENDING.
        """
        try:
            file = FileEntry(path, digest, self.blobs.stat(digest).size_bytes)
        except BlobNotFound:
            raise BlobsMissing([digest]) from None
        with self._checked([file]):
            return self.metadata.attach_file(project, model, version, file)

    def finalize_version(self, project: str, model: str, version: int) -> ModelVersion:
        """Make a PENDING version READY, if every file is stored.

        Raises:
            BlobsMissing: If a file's blob is not stored any more.
            IllegalTransition: If the version is FAILED.
            InvalidValue: If it has no files.
        """
        found = self.metadata.get_version(project, model, version)
        if found.state is VersionState.PENDING:
            self._stat(found.files)
        return self.metadata.finalize_version(project, model, version)

    def open_file(self, version: ModelVersion, path: str, offset: int = 0) -> BlobReader:
        """Read a file of a version, verified at its end when it is read from its beginning.

        Args:
            version: The version.
            path: Which of its files.
            offset: First byte to read.

        Raises:
            InvalidValue: If the version has no such file.
            FileDamaged: If it is missing from the storage.
        """
        entry = version.file(path)
        if entry is None:
            known = ", ".join(file.path for file in version.files[:20])
            raise InvalidValue("path", f"version {version.version} of model {version.model!r} has no file {path!r}; it has {known}")
        try:
            return self.blobs.open(entry.digest, offset)
        except BlobNotFound:
            raise FileDamaged(version.model, version.version, path, "it is missing from the storage") from None

    def is_readable(self, project: str, digest: str) -> bool:
        """Return whether a version of the project refers to a blob, so that who may read the project may read it."""
        return bool(self.metadata.referenced([digest], project=project))

    def verify_version(self, version: ModelVersion) -> Verification:
        """Read every file of a version, compare its digest, and check its signature against the digests of what was read.

        Raises:
            SigningFailed: If there are trusted keys, and ``model-signing`` is not installed.
        """
        stored = _each(self._stored, version.files)
        damaged = tuple(entry.path for entry, found in zip(version.files, stored, strict=True) if found != entry)
        return Verification(damaged, self._signature(version, {found.path: found for found in stored if found is not None}))

    def compare_versions(self, project: str, model: str, version: int, other_model: str, other_version: int) -> Comparison:
        """Compare two versions of a project; an empty `other_model` means the same model."""
        first = self.metadata.get_version(project, model, version)
        return compare(first, self.metadata.get_version(project, other_model or model, other_version))

    def collect_garbage(self, *, dry_run: bool = False) -> GarbageReport:
        """Purge what was deleted long ago, and remove blobs that nothing refers to."""
        return self._collector.collect(dry_run=dry_run)

    @contextmanager
    def _checked(self, files: Sequence[FileEntry]) -> Iterator[None]:
        """Find all blobs of files there, and keep them there until the block has referred to them."""
        oldest = min((blob.stored_time for blob in self._stat(files)), default=None)
        is_old = oldest is not None and oldest < self._clock() - self._retention.grace / 2
        with self.metadata.collection_lock(exclusive=False) if is_old else nullcontext():
            if is_old:
                # A collection may have come between.
                self._stat(files)
            yield

    def _stat(self, files: Sequence[FileEntry]) -> list[Blob]:
        found = _each(self._stat_one, files)
        missing = [entry.digest for entry, blob in zip(files, found, strict=True) if blob is None or blob.size_bytes != entry.size_bytes]
        if missing:
            raise BlobsMissing(missing)
        return [blob for blob in found if blob is not None]

    def _stat_one(self, entry: FileEntry) -> Blob | None:
        try:
            return self.blobs.stat(entry.digest)
        except BlobNotFound:
            return None

    def _stored(self, entry: FileEntry) -> FileEntry | None:
        """Read a file, and return what it is; None where it is missing."""
        size_bytes = 0
        try:
            with self.blobs.open(entry.digest) as reader:
                for chunk in reader:
                    size_bytes += len(chunk)
        except DigestMismatch as error:
            return FileEntry(entry.path, error.actual, size_bytes)
        except BlobNotFound:
            return None
        return FileEntry(entry.path, entry.digest, size_bytes)

    def _signature(self, version: ModelVersion, stored: Mapping[str, FileEntry]) -> SignatureCheck:
        entry = version.file(SIGNATURE_FILE)
        if entry is None:
            return SignatureCheck(SignatureVerdict.UNSIGNED)
        if entry.size_bytes > MOST_SIGNATURE_BYTES:
            return SignatureCheck(SignatureVerdict.UNREADABLE, problem=f"{SIGNATURE_FILE} is larger than {MOST_SIGNATURE_BYTES:,} bytes")
        try:
            bundle = self.blobs.open(entry.digest).read_all()
        except (BlobNotFound, DigestMismatch):
            return SignatureCheck(SignatureVerdict.UNREADABLE, problem=f"{SIGNATURE_FILE} is missing or damaged")
        # What is stored now and not what should be: a damaged file is not what was signed.
        digests = {path: found.digest for path, found in stored.items() if path != SIGNATURE_FILE}
        return check_digests(digests, bundle, self._trusted_keys, name=version.model)


def _each(work: Callable[[FileEntry], _Result], files: Sequence[FileEntry]) -> list[_Result]:
    """Run a function on each file, several at once: a store far away answers in milliseconds, not microseconds."""
    if len(files) < 2:
        return [work(entry) for entry in files]
    with ThreadPoolExecutor(min(_WORKERS, len(files)), thread_name_prefix="catalog") as pool:
        return list(pool.map(work, files))
