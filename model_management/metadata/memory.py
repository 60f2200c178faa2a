"""Records in memory, and transactions over them that change nothing until they are applied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from model_management.metadata.documents import model_from, model_to_dict, version_from, version_to_dict
from model_management.model import ModelVersion, RegisteredModel, Stage, VersionReference, VersionState

__all__ = ["Change", "MemoryTransaction", "ModelEntry", "State"]

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model with what is not for callers: the last number given out, and the request that made it."""

    model: RegisteredModel
    last_version: int = 0
    request_id: str | None = None


@dataclass
class State:
    """All records. Versions are kept without aliases, which belong to the model."""

    models: dict[_Key, ModelEntry] = field(default_factory=dict)
    versions: dict[_Key, dict[int, ModelVersion]] = field(default_factory=dict)
    requests: dict[_Key, VersionReference] = field(default_factory=dict)
    made_by: dict[tuple[str, VersionReference], str] = field(default_factory=dict)
    retired: dict[_Key, int] = field(default_factory=dict)

    def version(self, project: str, reference: VersionReference) -> ModelVersion | None:
        """Return a version, None where there is none."""
        return self.versions.get((project, reference.model), {}).get(reference.version)

    def all_versions(self) -> Iterator[ModelVersion]:
        """Return every version."""
        for versions in self.versions.values():
            yield from versions.values()

    def is_deleted(self, version: ModelVersion) -> bool:
        """Return whether a version, or its model, is deleted."""
        return version.state is VersionState.DELETED or self.models[version.project, version.model].model.delete_time is not None

    def is_purgeable(self, version: ModelVersion, before: datetime) -> bool:
        """Return whether a version, or its model, was deleted before a time, or the version FAILED then."""
        deleted = self.models[version.project, version.model].model.delete_time
        failed = version.update_time if version.state is VersionState.FAILED else None
        return any(time is not None and time < before for time in (deleted, failed, version.delete_time))

    def apply_json(self, changes: Iterable[dict[str, Any]]) -> None:
        """Apply changes as `Change.to_json` wrote them."""
        for change in changes:
            _KINDS[change["kind"]].from_json(change).apply(self)

    def as_json(self) -> Iterator[dict[str, Any]]:
        """Return changes that make this state out of nothing."""
        for (project, name), last in self.retired.items():
            yield DropModel(project, name, last).to_json()
        for entry in self.models.values():
            yield PutModel(entry).to_json()
        for version in self.all_versions():
            yield PutVersion(version, self.made_by.get((version.project, version.reference))).to_json()


class Change(Protocol):
    """One change of the state, which can be written down."""

    def apply(self, state: State) -> None:
        """Make the change."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        ...


@dataclass(frozen=True, slots=True)
class PutModel:
    """A model is new or other than before."""

    entry: ModelEntry

    def apply(self, state: State) -> None:
        """Make the change."""
        key = (self.entry.model.project, self.entry.model.name)
        state.models[key] = self.entry
        state.versions.setdefault(key, {})
        state.retired.pop(key, None)

    def to_json(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        document = model_to_dict(self.entry.model)
        return {"kind": "model", "model": document, "last_version": self.entry.last_version, "request_id": self.entry.request_id}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> PutModel:
        """Read back what `to_json` returned."""
        return cls(ModelEntry(model_from(document["model"]), document["last_version"], document["request_id"]))


@dataclass(frozen=True, slots=True)
class PutVersion:
    """A version is new or other than before."""

    version: ModelVersion
    request_id: str | None = None

    def apply(self, state: State) -> None:
        """Make the change."""
        state.versions[self.version.project, self.version.model][self.version.version] = self.version
        if self.request_id is not None:
            state.requests[self.version.project, self.request_id] = self.version.reference
            state.made_by[self.version.project, self.version.reference] = self.request_id

    def to_json(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        return {"kind": "version", "version": version_to_dict(self.version), "request_id": self.request_id}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> PutVersion:
        """Read back what `to_json` returned."""
        return cls(version_from(document["version"]), document["request_id"])


@dataclass(frozen=True, slots=True)
class DropVersion:
    """A version is gone for good."""

    project: str
    model: str
    version: int

    def apply(self, state: State) -> None:
        """Make the change."""
        state.versions.get((self.project, self.model), {}).pop(self.version, None)
        request_id = state.made_by.pop((self.project, VersionReference(self.model, self.version)), None)
        if request_id is not None:
            del state.requests[self.project, request_id]

    def to_json(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        return {"kind": "drop_version", "project": self.project, "model": self.model, "version": self.version}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> DropVersion:
        """Read back what `to_json` returned."""
        return cls(document["project"], document["model"], document["version"])


@dataclass(frozen=True, slots=True)
class DropModel:
    """A model is gone for good, but for the last number it gave out."""

    project: str
    name: str
    last_version: int

    def apply(self, state: State) -> None:
        """Make the change."""
        key = (self.project, self.name)
        state.models.pop(key, None)
        state.versions.pop(key, None)
        state.retired[key] = self.last_version

    def to_json(self) -> dict[str, Any]:
        """Return the change as a JSON object."""
        return {"kind": "drop_model", "project": self.project, "name": self.name, "last_version": self.last_version}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> DropModel:
        """Read back what `to_json` returned."""
        return cls(document["project"], document["name"], document["last_version"])


_KINDS: dict[str, type[PutModel] | type[PutVersion] | type[DropVersion] | type[DropModel]] = {
    "model": PutModel,
    "version": PutVersion,
    "drop_version": DropVersion,
    "drop_model": DropModel,
}


class MemoryTransaction:
    """A `Transaction` over a state: reads see its own changes, the state sees them when they are applied.

    Args:
        state: The state; it is only read here.
    """

    def __init__(self, state: State) -> None:
        self.changes: list[Change] = []
        self._state = state
        self._models: dict[_Key, ModelEntry] = {}
        self._versions: dict[tuple[str, str, int], ModelVersion] = {}
        self._numbers: dict[_Key, int] = {}

    def model(self, project: str, name: str) -> RegisteredModel | None:
        """Return a model, also a deleted one; None where there is none."""
        entry = self._entry((project, name))
        return None if entry is None else entry.model

    def model_request_id(self, project: str, name: str) -> str | None:
        """Return the request id that made the model."""
        entry = self._entry((project, name))
        return None if entry is None else entry.request_id

    def add_model(self, model: RegisteredModel, request_id: str | None) -> None:
        """Keep a new model."""
        self._put(ModelEntry(model, self._state.retired.get((model.project, model.name), 0), request_id))

    def replace_model(self, before: RegisteredModel, after: RegisteredModel) -> None:
        """Keep a model as it is now."""
        key = (before.project, before.name)
        entry = self._entry(key)
        if entry is not None:
            self._put(replace(entry, model=after, last_version=self._numbers.get(key, entry.last_version)))

    def take_number(self, project: str, name: str) -> int:
        """Return the next version number."""
        key = (project, name)
        entry = self._entry(key)
        self._numbers[key] = self._numbers.get(key, 0 if entry is None else entry.last_version) + 1
        return self._numbers[key]

    def version(self, project: str, model: str, number: int) -> ModelVersion | None:
        """Return a version, also a deleted one; None where there is none."""
        found = self._versions.get((project, model, number)) or self._state.versions.get((project, model), {}).get(number)
        return None if found is None else self.with_aliases(found)

    def version_of_request(self, project: str, request_id: str) -> ModelVersion | None:
        """Return the version that a request id made."""
        reference = self._state.requests.get((project, request_id))
        return None if reference is None else self.version(project, reference.model, reference.version)

    def newest_ready(self, project: str, model: str, stage: Stage | None = None) -> ModelVersion | None:
        """Return the READY version with the highest number."""
        return next(self._ready(project, model, stage), None)

    def ready_in_stage(self, project: str, model: str, stage: Stage) -> list[ModelVersion]:
        """Return all READY versions in a stage."""
        return list(self._ready(project, model, stage))

    def add_version(self, version: ModelVersion, request_id: str | None) -> None:
        """Keep a new version."""
        self._versions[version.project, version.model, version.version] = version
        self.changes.append(PutVersion(version, request_id))

    def replace_version(self, before: ModelVersion, after: ModelVersion) -> None:
        """Keep a version as it is now."""
        kept = replace(after, aliases=())
        self._versions[before.project, before.model, before.version] = kept
        self.changes.append(PutVersion(kept))

    def drop_version(self, version: ModelVersion) -> None:
        """Take a version away for good."""
        self.changes.append(DropVersion(version.project, version.model, version.version))

    def drop_model(self, model: RegisteredModel) -> None:
        """Take a model away for good, but for the last number it gave out."""
        entry = self._state.models[model.project, model.name]
        self.changes.append(DropModel(model.project, model.name, entry.last_version))

    def with_aliases(self, version: ModelVersion) -> ModelVersion:
        """Return a version with the aliases that point at it."""
        entry = self._entry((version.project, version.model))
        names = () if entry is None else tuple(sorted(name for name, number in entry.model.aliases.items() if number == version.version))
        return replace(version, aliases=names) if names else version

    def _entry(self, key: _Key) -> ModelEntry | None:
        return self._models.get(key) or self._state.models.get(key)

    def _put(self, entry: ModelEntry) -> None:
        self._models[entry.model.project, entry.model.name] = entry
        self.changes.append(PutModel(entry))

    def _ready(self, project: str, model: str, stage: Stage | None) -> Iterator[ModelVersion]:
        entry = self._entry((project, model))
        known = self._state.versions.get((project, model), {})
        added = [number for owner, name, number in self._versions if (owner, name) == (project, model) and number not in known]
        if entry is None:
            return
        # Numbers only grow, so a dictionary of versions is in their order.
        for number in (*reversed(added), *reversed(known)):
            version = self.version(project, model, number)
            if version is not None and version.state is VersionState.READY and stage in {None, version.stage}:
                yield version
