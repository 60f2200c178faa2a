"""What a registry is put together from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from model_management.catalog import Verification
from model_management.garbage import GarbageReport
from model_management.metadata.backend import MetadataBackend
from model_management.model import ModelVersion, Signature
from model_management.storage import ArtifactStorage

__all__ = ["ArtifactFormats", "RegistryParts", "Saved"]


class Saved(Protocol):
    """What saving a model to a folder returns; see `formats.SavedArtifact`."""

    @property
    def format(self) -> str:
        """Name of the format."""
        ...

    @property
    def signature(self) -> Signature | None:
        """Inputs and outputs."""
        ...

    @property
    def onnx_file(self) -> str | None:
        """The ONNX form, relative to the folder."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What else is known."""
        ...


class ArtifactFormats(Protocol):
    """How models become folders of files; see `model_management.formats`."""

    def save_artifact(self, model: Any, folder: Path, *, format: str | None, sample_input: Any, allow_pickle: bool, onnx: Any) -> Saved:
        """Write a model to a folder."""
        ...

    def load_artifact(self, folder: Path, format: str, *, allow_pickle: bool, trusted_types: Sequence[str]) -> Any:
        """Read it back."""
        ...


@dataclass(frozen=True, slots=True)
class RegistryParts:
    """What a registry is made of. A client of a remote one brings its own.

    Args:
        backend: Models and versions.
        storage: Their files.
        verify: Reads all files of a version, and checks its signature against the keys that are trusted where the files are.
        collect_garbage: Removes what nobody needs; takes whether to only say what would be done.
        close: Gives back files and connections.
    """

    backend: MetadataBackend
    storage: ArtifactStorage
    verify: Callable[[ModelVersion], Verification]
    collect_garbage: Callable[[bool], GarbageReport]
    close: Callable[[], None]
