"""Metadata in a folder of JSON lines: nothing to install, safe between processes, all of it in memory.

For the registry of a person or a small team; from some 10,000 versions on (0.8 s to open), or between machines, a database does better.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from aip_filter import Order, page_in_memory, parse, to_predicate
from model_management.errors import StorageFull
from model_management.metadata.backend import Purged
from model_management.metadata.journal import COMPACT_FROM_BYTES, Journal
from model_management.metadata.memory import MemoryTransaction, State
from model_management.metadata.records import Transaction
from model_management.metadata.transitions import failed
from model_management.model import (
    LineageEdge,
    ModelVersion,
    Page,
    RegisteredModel,
    Statistics,
    VersionError,
    VersionReference,
    VersionState,
)
from model_management.query import ListQuery, model_schema, row_of, version_schema

__all__ = ["JsonFileStore"]

_Result = TypeVar("_Result")
_Item = TypeVar("_Item", RegisteredModel, ModelVersion)


class JsonFileStore:
    """A `RecordStore` in a folder.

    Args:
        folder: The folder; made where it does not exist. On a local file system, since locks of network ones cannot be relied on.
        compact_from_bytes: A log smaller than this is never compacted.
    """

    def __init__(self, folder: Path, *, compact_from_bytes: int = COMPACT_FROM_BYTES) -> None:
        self._journal = Journal(folder, compact_from_bytes=compact_from_bytes)
        self._state = State()
        self._threads = threading.RLock()

    def read(self, work: Callable[[Transaction], _Result]) -> _Result:
        """Run a function on the state of this moment; see `RecordStore.read`."""
        with self._current() as state:
            return work(MemoryTransaction(state))

    def write(self, work: Callable[[Transaction], _Result]) -> _Result:
        """Run a function and append its changes as one line; see `RecordStore.write`."""
        return self._write(work)

    def list_models(self, query: ListQuery) -> Page[RegisteredModel]:
        """Return a page of models; see `RecordStore.list_models`."""
        matches = to_predicate(parse(query.filter), model_schema())
        with self._current() as state:
            found = [
                entry.model
                for entry in state.models.values()
                if _sees(query, entry.model.project)
                and (query.include_deleted or entry.model.delete_time is None)
                and matches(row_of(entry.model))
            ]
        return _page(query, "models", found, query.model_order())

    def list_versions(self, query: ListQuery) -> Page[ModelVersion]:
        """Return a page of versions; see `RecordStore.list_versions`."""
        matches = to_predicate(parse(query.filter), version_schema())
        with self._current() as state:
            transaction = MemoryTransaction(state)
            found = [
                version
                for key, versions in state.versions.items()
                if _sees(query, key[0]) and query.model in {"", key[1]}
                for version in versions.values()
                if (query.include_deleted or not state.is_deleted(version)) and matches(row_of(version))
            ]
            page = _page(query, "versions", found, query.version_order())
            return replace(page, items=tuple(transaction.with_aliases(version) for version in page.items))

    def parents_of(self, project: str, children: Collection[VersionReference]) -> list[LineageEdge]:
        """Return the edges that lead to these versions."""
        with self._current() as state:
            found = [state.version(project, child) for child in children]
        return [LineageEdge(parent, version.reference) for version in found if version is not None for parent in version.lineage.parents]

    def children_of(self, project: str, parents: Collection[VersionReference]) -> list[LineageEdge]:
        """Return the edges that lead from these versions."""
        wanted = frozenset(parents)
        with self._current() as state:
            return [
                LineageEdge(parent, version.reference)
                for version in state.all_versions()
                if version.project == project
                for parent in version.lineage.parents
                if parent in wanted
            ]

    def statistics(self, project: str | None) -> Statistics:
        """Return counts of a project, or of all."""
        with self._current() as state:
            models = [entry.model for entry in state.models.values() if project in {None, entry.model.project}]
            versions = [
                version
                for version in state.all_versions()
                if project in {None, version.project} and version.state is VersionState.READY and not state.is_deleted(version)
            ]
        by_stage: dict[str, int] = {}
        by_format: dict[str, int] = {}
        for version in versions:
            by_stage[version.stage.value] = by_stage.get(version.stage.value, 0) + 1
            by_format[version.format] = by_format.get(version.format, 0) + 1
        return Statistics(
            model_count=sum(model.delete_time is None for model in models),
            version_count=len(versions),
            total_size_bytes=sum(version.size_bytes for version in versions),
            versions_by_stage=by_stage,
            versions_by_format=by_format,
        )

    def models_by_tag(self, key: str, value: str, project: str | None) -> list[RegisteredModel]:
        """Return the models with this tag, by project and name."""
        with self._current() as state:
            found = [entry.model for entry in state.models.values() if project in {None, entry.model.project}]
        tagged = [model for model in found if model.tags.get(key) == value and model.delete_time is None]
        return sorted(tagged, key=attrgetter("project", "name"))

    def purge(self, *, before: datetime, pending_before: datetime, now: datetime, dry_run: bool) -> Purged:
        """Take away what was deleted or FAILED long ago; see `CollectableBackend.purge`."""

        def work(transaction: MemoryTransaction) -> Purged:
            return _purge(self._state, transaction, before, pending_before, now, dry_run=dry_run)

        return self._write(work)

    def referenced(self, digests: Collection[str], *, project: str | None, purged_before: datetime | None) -> frozenset[str]:
        """Return those digests that a version refers to; see `CollectableBackend.referenced`."""
        wanted = frozenset(digests)
        with self._current() as state:
            return frozenset(
                file.digest
                for version in state.all_versions()
                if project in {None, version.project} and (purged_before is None or not state.is_purgeable(version, purged_before))
                for file in version.files
                if file.digest in wanted
            )

    def collection_lock(self, *, exclusive: bool) -> AbstractContextManager[None]:
        """Hold off garbage collection; see `CollectableBackend.collection_lock`."""
        return self._journal.locked(exclusive=exclusive, name="collection-lock")

    def check(self) -> None:
        """Find out whether the files can be read."""
        self._journal.check()

    def close(self) -> None:
        """Forget the state; files are not kept open."""
        self._state = State()

    @contextmanager
    def _current(self) -> Iterator[State]:
        """Bring the state up to date and hold it still for this process."""
        with self._threads:
            with self._journal.locked(exclusive=False):
                self._catch_up()
            yield self._state

    def _write(self, work: Callable[[MemoryTransaction], _Result]) -> _Result:
        with self._threads, self._journal.locked(exclusive=True):
            self._catch_up()
            transaction = MemoryTransaction(self._state)
            result = work(transaction)
            if transaction.changes:
                is_compaction_due = self._journal.append([change.to_json() for change in transaction.changes])
                for change in transaction.changes:
                    change.apply(self._state)
                if is_compaction_due:
                    # The change is durable already; a disk too full for a snapshot can wait.
                    with suppress(StorageFull):
                        self._journal.compact(self._state.as_json())
            return result

    def _catch_up(self) -> None:
        is_new, changes = self._journal.news()
        if is_new:
            self._state = State()
        self._state.apply_json(changes)


def _sees(query: ListQuery, project: str) -> bool:
    return query.projects is None or project in query.projects


def _purge(
    state: State, transaction: MemoryTransaction, before: datetime, pending_before: datetime, now: datetime, *, dry_run: bool
) -> Purged:
    gone = [version for version in state.all_versions() if state.is_purgeable(version, before)]
    models = [entry.model for entry in state.models.values() if _is_before(entry.model.delete_time, before)]
    pending = [version for version in state.all_versions() if version.state is VersionState.PENDING and version not in gone]
    stale = [version for version in pending if version.update_time < pending_before]
    if not dry_run:
        for version in stale:
            transaction.replace_version(version, failed(version, VersionError("ABANDONED", "its files did not arrive"), now))
        for version in gone:
            transaction.drop_version(version)
        # Deleted versions are not counted any more, FAILED ones still are.
        lost = Counter((version.project, version.model) for version in gone if version.state is VersionState.FAILED)
        for key, count in lost.items():
            owner = state.models[key].model
            transaction.replace_model(owner, replace(owner, version_count=owner.version_count - count))
        for model in models:
            transaction.drop_model(model)
    return Purged(len(gone), len(models), len(stale))


def _is_before(time: datetime | None, limit: datetime) -> bool:
    return time is not None and time < limit


def _page(query: ListQuery, kind: str, found: list[_Item], order: Order) -> Page[_Item]:
    getters: list[tuple[Callable[[_Item], Any], bool]] = [(attrgetter(name), descends) for name, descends in order]
    items, last = page_in_memory(found, getters, query.last_seen(kind), query.limit())
    return Page(tuple(items), "" if last is None else query.next_token(kind, last))
