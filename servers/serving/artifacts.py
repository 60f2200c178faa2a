"""Files of models on this machine: fetched once, kept under their digest, verified whenever they are read."""

from __future__ import annotations

import logging
import mmap
import posixpath
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blob_store import BlobNotFound, BlobStore, BlobStoreError, DigestMismatch, fetch_file
from servers.serving.errors import ModelCacheFull, ModelLoadFailed, ModelNotServable, RegistryUnavailable
from servers.serving.external_data import external_locations
from servers.serving.model_source import ModelSource, SourceFile, SourceVersion

_LOGGER = logging.getLogger(__name__)
_ATTEMPTS = 3
_MODEL_FILE = ".model.onnx"
"""Name of the ONNX file while it is loaded; not one that a version is likely to have."""


@dataclass(frozen=True, slots=True)
class OnnxFiles:
    """What ONNX Runtime needs of a version, in a folder that goes when the block that gave it ends.

    Args:
        model: The ONNX file, verified; its external data lies where it refers to, verified too.
        digest: Its digest.
        size_bytes: Size of the file and of its external data together.
    """

    model: Path
    digest: str
    size_bytes: int


class ArtifactCache:
    """Brings files of the registry here.

    Args:
        source: The registry.
        store: Where files are kept, by digest.
        scratch: Folder for the files of a model while it is loaded.
        max_cache_bytes: Files kept; beyond that the ones fetched first go.
        max_model_bytes: Largest ONNX form that is fetched.
    """

    def __init__(self, source: ModelSource, store: BlobStore, scratch: Path, *, max_cache_bytes: int, max_model_bytes: int) -> None:
        self._source = source
        self._store = store
        self._scratch = scratch
        self._max_cache_bytes = max_cache_bytes
        self._max_model_bytes = max_model_bytes
        self._fetching: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    @contextmanager
    def onnx_files(self, version: SourceVersion) -> Iterator[OnnxFiles]:
        """Gives the ONNX form of a version for the time of loading it.

        Raises:
            ModelNotServable: If the version has none.
            ModelLoadFailed: If it is larger than allowed, or refers to a file that the version does not have.
            RegistryUnavailable: If a file is not here and cannot be fetched.
        """
        file = onnx_file(version)
        self._check_size(version, [file])
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        place = Path(tempfile.mkdtemp(prefix="load-", dir=self._scratch))
        try:
            model = place / _MODEL_FILE
            self._place(version.project, file, model)
            outside = _external_files(version, model)
            size_bytes = self._check_size(version, [file, *outside.values()])
            for location, found in outside.items():
                self._place(version.project, found, place / location)
            yield OnnxFiles(model, file.digest, size_bytes)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def clear_scratch(self) -> None:
        """Removes what an earlier process left."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _check_size(self, version: SourceVersion, files: list[SourceFile]) -> int:
        size_bytes = sum(file.size_bytes for file in files)
        if size_bytes > self._max_model_bytes:
            raise ModelLoadFailed(
                f"the ONNX form of `{version.name}` version {version.version} has {size_bytes} bytes; "
                f"at most {self._max_model_bytes} are loaded (setting max_model_bytes)"
            )
        return size_bytes

    def _place(self, project: str, file: SourceFile, path: Path) -> None:
        """Puts a verified copy of a file at a path; what is run is what was verified, whatever becomes of the cache meanwhile."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for _ in range(_ATTEMPTS):
            self._ensure(project, file)
            try:
                fetch_file(self._store, file.digest, path)
                return
            except DigestMismatch:
                _LOGGER.warning("%s: the file in the cache is damaged; it is fetched again", file.digest)
                self._store.delete(file.digest)
            except BlobNotFound:  # made room for another one meanwhile
                continue
            except BlobStoreError as error:
                raise _cannot_keep(file, error) from error
        raise RegistryUnavailable(f"the file {file.digest} does not stay in the cache of this server", retry_after_s=5)

    def _ensure(self, project: str, file: SourceFile) -> None:
        """Fetches a file unless it is here; callers who want the same one wait for the first."""
        with self._lock:
            lock = self._fetching.setdefault(file.digest, threading.Lock())
        try:
            with lock:
                self._fetch(project, file)
        finally:
            with self._lock:
                self._fetching.pop(file.digest, None)

    def _fetch(self, project: str, file: SourceFile) -> None:
        try:
            self._store.stat(file.digest)
            return
        except BlobNotFound:
            pass
        try:
            self._store.put(self._source.fetch(project, file), file.digest, max_size_bytes=file.size_bytes)
        except DigestMismatch:
            raise RegistryUnavailable(f"the registry sent other bytes than those of {file.digest}", retry_after_s=5) from None
        except BlobStoreError as error:
            raise _cannot_keep(file, error) from error
        self._trim(file.digest)

    def _trim(self, newest: str) -> None:
        blobs = sorted(self._store.iterate(), key=lambda blob: blob.stored_time)
        excess = sum(blob.size_bytes for blob in blobs) - self._max_cache_bytes
        for blob in blobs:
            if excess <= 0:
                return
            if blob.digest != newest:
                self._store.delete(blob.digest)
                excess -= blob.size_bytes


def _external_files(version: SourceVersion, model: Path) -> dict[str, SourceFile]:
    """Files of the version that its model refers to, by their path relative to the model.

    Raises:
        ModelLoadFailed: If it refers to anything else.
    """
    folder = posixpath.dirname(version.onnx_path)
    found = {}
    for location in sorted(external_locations(_mapped(model))):
        file = version.file(posixpath.join(folder, location))
        if file is None or location == _MODEL_FILE:
            raise ModelLoadFailed(f"the model refers to external data at `{location[:200]}`, which is not among the version's files")
        found[location] = file
    return found


def _mapped(path: Path) -> mmap.mmap | bytes:
    """The bytes of a file without a copy of them; the map goes with its last reader."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""


def _cannot_keep(file: SourceFile, error: BlobStoreError) -> ModelCacheFull:
    return ModelCacheFull(f"the file {file.digest} ({file.size_bytes} bytes) cannot be kept by this server: {error}", retry_after_s=30)


def onnx_file(version: SourceVersion) -> SourceFile:
    """The file that serving runs.

    Raises:
        ModelNotServable: If the version has none.
    """
    named = f"`{version.name}` version {version.version}"
    if not version.onnx_path:
        text = (
            f"{named} (format {version.format or 'folder'}) has no ONNX form, and serving runs nothing else. "
            "Save it again with a converter installed (for example skl2onnx), or save an ONNX model"
        )
        raise ModelNotServable(text, preconditions=[("ONNX_FORM", version.name, text)])
    file = version.file(version.onnx_path)
    if file is None:
        text = f"{named} names `{version.onnx_path}` as its ONNX form, and has no such file. Save it again"
        raise ModelNotServable(text, preconditions=[("ONNX_FORM", version.name, text)])
    return file
