"""What a place for metadata has to bring: records in transactions, and the questions that only it can answer well.

`operations.LocalBackend` holds all rules and is written once; JSON and SQL differ only below this line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, TypeVar

from model_management.metadata.backend import Purged
from model_management.model import LineageEdge, ModelVersion, Page, RegisteredModel, Stage, Statistics, VersionReference
from model_management.query import ListQuery

__all__ = ["RecordStore", "Transaction"]

_Result = TypeVar("_Result")


class Transaction(Protocol):
    """Records as one transaction sees them. In one that writes, `model` locks the model and thereby all its versions."""

    def model(self, project: str, name: str) -> RegisteredModel | None:
        """Return a model, also a deleted one; None where there is none."""
        ...

    def model_request_id(self, project: str, name: str) -> str | None:
        """Return the request id that made the model, None where it had none."""
        ...

    def add_model(self, model: RegisteredModel, request_id: str | None) -> None:
        """Keep a new model; its versions go on counting where those of a purged model of its name ended."""
        ...

    def replace_model(self, before: RegisteredModel, after: RegisteredModel) -> None:
        """Keep a model that `model` returned as it is now."""
        ...

    def take_number(self, project: str, name: str) -> int:
        """Return the next version number. `replace_model` follows in the same transaction and makes it final."""
        ...

    def version(self, project: str, model: str, number: int) -> ModelVersion | None:
        """Return a version, also a deleted one; None where there is none."""
        ...

    def version_of_request(self, project: str, request_id: str) -> ModelVersion | None:
        """Return the version that a request id made, None where it made none.

        A store that would refuse to add a second version of the request, and then runs the work again, need not look the first time.
        """
        ...

    def newest_ready(self, project: str, model: str, stage: Stage | None = None) -> ModelVersion | None:
        """Return the READY version with the highest number, of those in a stage where one is given."""
        ...

    def ready_in_stage(self, project: str, model: str, stage: Stage) -> list[ModelVersion]:
        """Return all READY versions in a stage."""
        ...

    def add_version(self, version: ModelVersion, request_id: str | None) -> None:
        """Keep a new version."""
        ...

    def replace_version(self, before: ModelVersion, after: ModelVersion) -> None:
        """Keep a version that this transaction returned as it is now."""
        ...


class RecordStore(Protocol):
    """A place for records."""

    def read(self, work: Callable[[Transaction], _Result]) -> _Result:
        """Run a function on one consistent state."""
        ...

    def write(self, work: Callable[[Transaction], _Result]) -> _Result:
        """Run a function whose changes become visible all at once or, where it raises, not at all.

        It may run again where it lost against another transaction.
        """
        ...

    def list_models(self, query: ListQuery) -> Page[RegisteredModel]:
        """Return a page of models."""
        ...

    def list_versions(self, query: ListQuery) -> Page[ModelVersion]:
        """Return a page of versions."""
        ...

    def parents_of(self, project: str, children: Collection[VersionReference]) -> list[LineageEdge]:
        """Return the edges that lead to these versions."""
        ...

    def children_of(self, project: str, parents: Collection[VersionReference]) -> list[LineageEdge]:
        """Return the edges that lead from these versions."""
        ...

    def statistics(self, project: str | None) -> Statistics:
        """Return counts of a project, or of all."""
        ...

    def models_by_tag(self, key: str, value: str, project: str | None) -> list[RegisteredModel]:
        """Return the models with this tag, by project and name."""
        ...

    def purge(self, *, before: datetime, pending_before: datetime, now: datetime, dry_run: bool) -> Purged:
        """See `CollectableBackend.purge`."""
        ...

    def referenced(self, digests: Collection[str], *, project: str | None, purged_before: datetime | None) -> frozenset[str]:
        """See `CollectableBackend.referenced`."""
        ...

    def collection_lock(self, *, exclusive: bool) -> AbstractContextManager[None]:
        """See `CollectableBackend.collection_lock`."""
        ...

    def check(self) -> None:
        """See `MetadataBackend.check`."""
        ...

    def close(self) -> None:
        """See `MetadataBackend.close`."""
        ...
