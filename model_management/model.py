"""Models, versions, and what surrounds them: plain values that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from model_management.errors import InvalidValue
from model_management.files import FileEntry, check_files
from model_management.signature import Signature, TensorSpec
from model_management.values import (
    MAX_TAG_LENGTH,
    MAX_TAGS,
    check_map,
    check_metrics,
    check_model_name,
    check_path,
    check_text,
    check_version_number,
)

__all__ = [
    "DatasetReference",
    "FileEntry",
    "Lineage",
    "LineageEdge",
    "LineageGraph",
    "ModelChanges",
    "ModelVersion",
    "NewModel",
    "NewVersion",
    "Page",
    "RegisteredModel",
    "Signature",
    "Stage",
    "Statistics",
    "TensorSpec",
    "VersionChanges",
    "VersionError",
    "VersionReference",
    "VersionState",
]

MAX_DESCRIPTION_LENGTH = 65_536
MAX_MODEL_CARD_LENGTH = 262_144
MAX_REFERENCES = 1_000

_Item = TypeVar("_Item")


class VersionState(StrEnum):
    """Where a version is in its life."""

    PENDING = "PENDING"
    """Has its number and waits for its files. May become READY or FAILED."""
    READY = "READY"
    """Whole: every file is stored and verified. May become DELETED."""
    FAILED = "FAILED"
    """Its files did not arrive or did not verify. May become DELETED."""
    DELETED = "DELETED"
    """Deleted; may become what it was until the retention ends."""


class Stage(StrEnum):
    """How far a version has come; any may follow any."""

    NONE = "none"
    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"

    @classmethod
    def parse(cls, name: str | Stage) -> Stage:
        """Return the stage of this name, in upper or lower case.

        Raises:
            InvalidValue: If there is none.
        """
        try:
            return cls(str(name).lower())
        except ValueError:
            raise InvalidValue("stage", f"{name!r} is no stage; allowed are {', '.join(cls)}") from None


@dataclass(frozen=True, slots=True)
class DatasetReference:
    """A dataset that a version was trained on: its name, where it is, and digest or version of what was read."""

    name: str
    uri: str = ""
    digest: str = ""

    def __post_init__(self) -> None:
        if not check_text("lineage.datasets.name", self.name, 255):
            raise InvalidValue("lineage.datasets.name", "is empty")
        check_text("lineage.datasets.uri", self.uri, 2048)
        check_text("lineage.datasets.digest", self.digest, 255)


@dataclass(frozen=True, slots=True, order=True)
class VersionReference:
    """Names a version of a model in the same project."""

    model: str
    version: int

    def __post_init__(self) -> None:
        check_model_name(self.model)
        check_version_number(self.version)


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a version was made from.

    Args:
        datasets: What it was trained on.
        run_id: The experiment run that made it.
        code_repository: Where the code is that made it.
        code_commit: Which commit of it.
        parents: Versions it was made from, for example by fine-tuning.
    """

    datasets: tuple[DatasetReference, ...] = ()
    run_id: str = ""
    code_repository: str = ""
    code_commit: str = ""
    parents: tuple[VersionReference, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "datasets", tuple(self.datasets))
        object.__setattr__(self, "parents", tuple(self.parents))
        check_text("lineage.run_id", self.run_id, 255)
        check_text("lineage.code_repository", self.code_repository, 2048)
        check_text("lineage.code_commit", self.code_commit, 255)
        for name, references in (("datasets", self.datasets), ("parents", self.parents)):
            if len(references) > MAX_REFERENCES:
                raise InvalidValue(f"lineage.{name}", f"has {len(references):,} entries; at most {MAX_REFERENCES:,} are allowed")
        if len(set(self.parents)) != len(self.parents):
            raise InvalidValue("lineage.parents", "names a version twice")


@dataclass(frozen=True, slots=True)
class VersionError:
    """Why a version is FAILED: a reason for programs, and words for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model: a name under which versions are kept.

    Args:
        project: The project it belongs to.
        name: Unique in the project.
        display_name: Name as people write it.
        description: What it is for, in Markdown.
        tags: Keys and values.
        aliases: Version number behind each alias.
        latest_version: Highest number of a READY version; 0 where there is none.
        version_count: Versions that are not deleted.
        create_time: When it was created.
        update_time: When it or one of its versions last changed.
        delete_time: When it was deleted; None while it is not.
        creator: Who created it.
        etag: Changes with every update of the model itself.
    """

    project: str
    name: str
    create_time: datetime
    update_time: datetime
    display_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    latest_version: int = 0
    version_count: int = 0
    delete_time: datetime | None = None
    creator: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a model. Its files never change once it is READY.

    Args:
        project: The project of its model.
        model: The name of its model.
        version: Its number: 1, 2, 3, … never used twice.
        state: Where it is in its life.
        create_time: When it was created.
        update_time: When it last changed.
        delete_time: When it was deleted; None while it is not.
        error: Why it is FAILED.
        description: What is new in it, in Markdown.
        tags: Keys and values.
        stage: How far it has come.
        aliases: Those that point at it, sorted.
        format: How to load it, for example ``sklearn`` or ``folder``.
        files: Its files, sorted by path.
        digest: SHA-256 over paths and digests of all files; empty while PENDING.
        size_bytes: Sum of its files.
        signature: Inputs and outputs.
        onnx_path: Which file is the ONNX form that serving runs; empty where there is none.
        metrics: Evaluation results.
        parameters: Hyperparameters and whatever else the format keeps.
        lineage: What it was made from.
        model_card: Model card in Markdown.
        creator: Who created it.
        etag: Changes with every update.
    """

    project: str
    model: str
    version: int
    state: VersionState
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None = None
    error: VersionError | None = None
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    stage: Stage = Stage.NONE
    aliases: tuple[str, ...] = ()
    format: str = "folder"
    files: tuple[FileEntry, ...] = ()
    digest: str = ""
    size_bytes: int = 0
    signature: Signature | None = None
    onnx_path: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    lineage: Lineage = Lineage()
    model_card: str = ""
    creator: str = ""
    etag: str = ""

    @property
    def reference(self) -> VersionReference:
        """Return model and number."""
        return VersionReference(self.model, self.version)

    def file(self, path: str) -> FileEntry | None:
        """Return the file of this path, None where there is none."""
        return next((entry for entry in self.files if entry.path == path), None)


@dataclass(frozen=True, slots=True)
class NewModel:
    """What a caller says about a model that is to be created; see `RegisteredModel`."""

    display_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_text("display_name", self.display_name, 255)
        check_text("description", self.description, MAX_DESCRIPTION_LENGTH)
        object.__setattr__(self, "tags", check_map("tags", self.tags, max_entries=MAX_TAGS, max_length=MAX_TAG_LENGTH))


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a caller says about a version that is to be created; see `ModelVersion`.

    With files it is READY at once, without any it is PENDING.
    """

    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    format: str = "folder"
    files: tuple[FileEntry, ...] = ()
    signature: Signature | None = None
    onnx_path: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    lineage: Lineage = Lineage()
    model_card: str = ""

    def __post_init__(self) -> None:
        check_text("description", self.description, MAX_DESCRIPTION_LENGTH)
        check_text("format", self.format, 63)
        check_text("model_card", self.model_card, MAX_MODEL_CARD_LENGTH)
        object.__setattr__(self, "tags", check_map("tags", self.tags, max_entries=MAX_TAGS, max_length=MAX_TAG_LENGTH))
        object.__setattr__(self, "metrics", check_metrics(self.metrics))
        object.__setattr__(self, "parameters", check_map("parameters", self.parameters))
        object.__setattr__(self, "files", check_files(self.files))
        for spec in () if self.signature is None else (*self.signature.inputs, *self.signature.outputs):
            check_text("signature", spec.name, 512)
        if self.onnx_path:
            check_path(self.onnx_path)
        if self.files and self.onnx_path and all(entry.path != self.onnx_path for entry in self.files):
            raise InvalidValue("onnx_path", f"{self.onnx_path!r} is none of the files {[entry.path for entry in self.files][:10]}")


@dataclass(frozen=True, slots=True)
class ModelChanges:
    """What to change of a model; None leaves a field as it is, a mapping replaces all entries."""

    display_name: str | None = None
    description: str | None = None
    tags: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        NewModel(self.display_name or "", self.description or "", self.tags or {})


@dataclass(frozen=True, slots=True)
class VersionChanges:
    """What to change of a version; None leaves a field as it is, a mapping replaces all entries."""

    description: str | None = None
    tags: Mapping[str, str] | None = None
    metrics: Mapping[str, float] | None = None
    parameters: Mapping[str, str] | None = None
    model_card: str | None = None

    def __post_init__(self) -> None:
        checked = NewVersion(
            description=self.description or "",
            tags=self.tags or {},
            metrics=self.metrics or {},
            parameters=self.parameters or {},
            model_card=self.model_card or "",
        )
        if self.metrics is not None:
            object.__setattr__(self, "metrics", checked.metrics)


@dataclass(frozen=True, slots=True)
class LineageEdge:
    """Says that one version was made from another."""

    parent: VersionReference
    child: VersionReference


@dataclass(frozen=True, slots=True)
class LineageGraph:
    """Where a version stands among others: every step back to versions without parents, and every step to those made from it."""

    lineage: Lineage
    ancestors: tuple[LineageEdge, ...] = ()
    descendants: tuple[LineageEdge, ...] = ()


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts over what is not deleted.

    Args:
        model_count: Models.
        version_count: READY versions.
        total_size_bytes: Sum of their files; a file that several share counts once a version.
        versions_by_stage: READY versions by stage.
        versions_by_format: READY versions by format.
    """

    model_count: int = 0
    version_count: int = 0
    total_size_bytes: int = 0
    versions_by_stage: Mapping[str, int] = field(default_factory=dict)
    versions_by_format: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page(Generic[_Item]):
    """A page of a list, and the token of the next one, empty on the last."""

    items: tuple[_Item, ...]
    next_page_token: str = ""
