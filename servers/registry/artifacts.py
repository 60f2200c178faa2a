"""Files of versions as plain HTTP clients send and fetch them: one at a time, or all as an archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from model_management.catalog import ModelCatalog
from model_management.errors import IllegalTransition
from model_management.model import FileEntry, ModelVersion, VersionState
from model_management.values import check_path
from servers.registry.archive import tar_stream
from servers.registry.errors import FileNotInVersion
from servers.registry.transfers import checked


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes to send.

    Args:
        media_type: What they are.
        chunks: The bytes.
    """

    media_type: str
    chunks: Iterator[bytes]


class Artifacts:
    """Takes and gives files of versions.

    Args:
        catalog: Versions over metadata and blobs.
        max_file_bytes: Largest file that is taken.
    """

    def __init__(self, catalog: ModelCatalog, max_file_bytes: int) -> None:
        self._catalog = catalog
        self._max_file_bytes = max_file_bytes

    def add_file(self, project: str, model: str, version: int, path: str, chunks: Iterable[bytes]) -> FileEntry:
        """Stores a file and adds it to a PENDING version, in place of one of the same path.

        Raises:
            IllegalTransition: The version is not PENDING.
            blob_store.BlobTooLarge: The file is larger than this server takes.
        """
        check_path(path)
        found = self._catalog.metadata.get_version(project, model, version)
        if found.state is not VersionState.PENDING:
            # Said before gigabytes have come in for nothing.
            raise IllegalTransition(model, version, found.state, [VersionState.PENDING], "take files")
        blob = self._catalog.blobs.put(chunks, max_size_bytes=self._max_file_bytes)
        self._catalog.attach_file(project, model, version, path, blob.digest)
        return FileEntry(path, blob.digest, blob.size_bytes)

    def download(self, project: str, model: str, version: int, path: str) -> Download:
        """Opens a file of a version, or all of them as a tar archive where `path` is empty.

        Raises:
            FileNotInVersion: The version has no such file.
        """
        found = self._catalog.metadata.get_version(project, model, version)
        if not path:
            return Download("application/x-tar", tar_stream(found.files, lambda file: self._open(found, file), found.create_time))
        file = found.file(path)
        if file is None:
            raise FileNotInVersion(model, version, path, [known.path for known in found.files])
        # Never the type its name suggests: a browser must not run what somebody saved as a model.
        return Download("application/octet-stream", self._open(found, file))

    def _open(self, version: ModelVersion, file: FileEntry) -> Iterator[bytes]:
        return checked(file.digest, self._catalog.open_file(version, file.path))
