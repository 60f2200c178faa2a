"""The metadata backend for records that live here: every rule of the registry, over any `RecordStore`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from model_management.errors import (
    InvalidValue,
    ModelDeleted,
    ModelExists,
    ModelNotFound,
    ParentNotFound,
    RequestIdReused,
)
from model_management.metadata import transitions
from model_management.metadata.ancestry import trace
from model_management.metadata.backend import Purged
from model_management.metadata.lookups import find_model, find_version, resolve
from model_management.metadata.records import RecordStore, Transaction
from model_management.model import (
    FileEntry,
    LineageGraph,
    ModelChanges,
    ModelVersion,
    NewModel,
    NewVersion,
    Page,
    RegisteredModel,
    Stage,
    Statistics,
    VersionChanges,
    VersionError,
    VersionState,
)
from model_management.query import ListQuery
from model_management.values import check_alias, check_model_name, check_project, check_request_id, check_text

__all__ = ["LocalBackend"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class LocalBackend:
    """A `CollectableBackend` over records in a file or a database.

    Args:
        store: Where the records are.
        clock: Tells the time, in UTC.
    """

    def __init__(self, store: RecordStore, *, clock: Callable[[], datetime] = _utc_now) -> None:
        self._store = store
        self._clock = clock

    # Models.

    def create_model(
        self, project: str, name: str, new: NewModel | None = None, *, creator: str = "", request_id: str | None = None
    ) -> RegisteredModel:
        """Create a model; see `MetadataBackend.create_model`."""
        check_project(project)
        check_model_name(name)
        check_text("creator", creator, 255)
        request_id = check_request_id(request_id)

        def work(transaction: Transaction) -> RegisteredModel:
            existing = transaction.model(project, name)
            if existing is None:
                return _add_model(transaction, project, name, new or NewModel(), creator, request_id, self._clock())
            if request_id is not None and transaction.model_request_id(project, name) == request_id:
                return existing
            raise ModelExists(project, name, is_deleted=existing.delete_time is not None)

        return self._store.write(work)

    def get_model(self, project: str, name: str, *, include_deleted: bool = False) -> RegisteredModel:
        """Return a model; see `MetadataBackend.get_model`."""
        return self._store.read(lambda transaction: find_model(transaction, project, name, include_deleted=include_deleted))

    def list_models(self, query: ListQuery | None = None) -> Page[RegisteredModel]:
        """Return a page of models; see `MetadataBackend.list_models`."""
        return self._store.list_models(query or ListQuery())

    def update_model(self, project: str, name: str, changes: ModelChanges, *, etag: str = "") -> RegisteredModel:
        """Change a model; see `MetadataBackend.update_model`."""
        return self._change_model(project, name, etag, lambda model: transitions.changed_model(model, changes, self._clock()))

    def delete_model(self, project: str, name: str, *, etag: str = "") -> None:
        """Delete a model; see `MetadataBackend.delete_model`."""

        def delete(model: RegisteredModel) -> RegisteredModel:
            if model.delete_time is not None:
                return model
            now = self._clock()
            return replace(model, delete_time=now, update_time=now, etag=transitions.new_etag())

        self._change_model(project, name, etag, delete, include_deleted=True)

    def restore_model(self, project: str, name: str) -> RegisteredModel:
        """Undo `delete_model`; see `MetadataBackend.restore_model`."""

        def restore(model: RegisteredModel) -> RegisteredModel:
            if model.delete_time is None:
                return model
            return replace(model, delete_time=None, update_time=self._clock(), etag=transitions.new_etag())

        return self._change_model(project, name, "", restore, include_deleted=True)

    def set_alias(self, project: str, model: str, alias: str, version: int, *, etag: str = "") -> RegisteredModel:
        """Point an alias at a version; see `MetadataBackend.set_alias`."""
        check_alias(alias)

        def work(transaction: Transaction) -> RegisteredModel:
            before = find_model(transaction, project, model)
            transitions.check_etag(f"model {model!r}", etag, before.etag)
            transitions.require_ready(find_version(transaction, project, model, version))
            if before.aliases.get(alias) == version:
                return before
            return self._move_alias(transaction, before, {**before.aliases, alias: version})

        return self._store.write(work)

    def delete_alias(self, project: str, model: str, alias: str) -> RegisteredModel:
        """Remove an alias; see `MetadataBackend.delete_alias`."""

        def work(transaction: Transaction) -> RegisteredModel:
            before = find_model(transaction, project, model)
            if alias not in before.aliases:
                return before
            return self._move_alias(transaction, before, {key: value for key, value in before.aliases.items() if key != alias})

        return self._store.write(work)

    # Versions.

    def create_version(
        self,
        project: str,
        model: str,
        new: NewVersion,
        *,
        create_model: bool = False,
        creator: str = "",
        request_id: str | None = None,
    ) -> ModelVersion:
        """Create the next version; see `MetadataBackend.create_version`."""
        check_project(project)
        check_model_name(model)
        check_text("creator", creator, 255)
        request_id = check_request_id(request_id)

        def work(transaction: Transaction) -> ModelVersion:
            if request_id is not None and (first := transaction.version_of_request(project, request_id)) is not None:
                if first.model != model:
                    raise RequestIdReused(request_id)
                return first
            now = self._clock()
            before = transaction.model(project, model)
            if before is None:
                if not create_model:
                    raise ModelNotFound(project, model)
                before = _add_model(transaction, project, model, NewModel(description=new.description), creator, None, now)
            if before.delete_time is not None:
                raise ModelDeleted(project, model)
            for parent in new.lineage.parents:
                if transaction.version(project, parent.model, parent.version) is None:
                    raise ParentNotFound(parent.model, parent.version)
            version = transitions.new_version(project, model, transaction.take_number(project, model), new, creator, now)
            tags = {**before.tags, **new.tags} if create_model else before.tags
            after = replace(before, tags=tags, version_count=before.version_count + 1, update_time=now)
            if version.state is VersionState.READY:
                after = replace(after, latest_version=version.version)
            transaction.add_version(version, request_id)
            transaction.replace_model(before, after)
            return version

        return self._store.write(work)

    def get_version(self, project: str, model: str, version: int, *, include_deleted: bool = False) -> ModelVersion:
        """Return a version; see `MetadataBackend.get_version`."""
        return self._store.read(lambda transaction: find_version(transaction, project, model, version, include_deleted=include_deleted))

    def resolve_version(
        self, project: str, model: str, *, version: int | None = None, alias: str | None = None, stage: Stage | None = None
    ) -> ModelVersion:
        """Return the version that is meant; see `MetadataBackend.resolve_version`."""
        given = [name for name, value in (("version", version), ("alias", alias), ("stage", stage)) if value]
        if len(given) > 1:
            raise InvalidValue(given[1], f"{' and '.join(given)} are given; name a version by one of them")
        return self._store.read(lambda transaction: resolve(transaction, project, model, version, alias, stage))

    def list_versions(self, query: ListQuery | None = None) -> Page[ModelVersion]:
        """Return a page of versions; see `MetadataBackend.list_versions`."""
        return self._store.list_versions(query or ListQuery())

    def update_version(self, project: str, model: str, version: int, changes: VersionChanges, *, etag: str = "") -> ModelVersion:
        """Change a version; see `MetadataBackend.update_version`."""
        return self._change_version(
            project, model, version, lambda found: transitions.changed_version(found, changes, self._clock()), etag=etag
        )

    def delete_version(self, project: str, model: str, version: int, *, etag: str = "") -> None:
        """Delete a version; see `MetadataBackend.delete_version`."""

        def delete(found: ModelVersion) -> ModelVersion:
            return found if found.state is VersionState.DELETED else transitions.deleted(found, self._clock())

        self._change_version(project, model, version, delete, etag=etag, include_deleted=True)

    def restore_version(self, project: str, model: str, version: int) -> ModelVersion:
        """Undo `delete_version`; see `MetadataBackend.restore_version`."""

        def restore(found: ModelVersion) -> ModelVersion:
            return transitions.restored(found, self._clock()) if found.state is VersionState.DELETED else found

        return self._change_version(project, model, version, restore, include_deleted=True)

    def attach_file(self, project: str, model: str, version: int, file: FileEntry) -> ModelVersion:
        """Add a file to a PENDING version; see `MetadataBackend.attach_file`."""
        return self._change_version(project, model, version, lambda found: transitions.attached(found, file, self._clock()))

    def finalize_version(self, project: str, model: str, version: int) -> ModelVersion:
        """Make a PENDING version READY; see `MetadataBackend.finalize_version`."""

        def finalize(found: ModelVersion) -> ModelVersion:
            return found if found.state is VersionState.READY else transitions.finalized(found, self._clock())

        return self._change_version(project, model, version, finalize)

    def fail_version(self, project: str, model: str, version: int, error: VersionError) -> ModelVersion:
        """Give a PENDING version up; see `MetadataBackend.fail_version`."""

        def fail(found: ModelVersion) -> ModelVersion:
            return found if found.state is VersionState.FAILED else transitions.failed(found, error, self._clock())

        return self._change_version(project, model, version, fail)

    def set_stage(
        self, project: str, model: str, version: int, stage: Stage, *, archive_others: bool = False, etag: str = ""
    ) -> ModelVersion:
        """Move a version to a stage; see `MetadataBackend.set_stage`."""
        stage = Stage.parse(stage)

        def work(transaction: Transaction) -> ModelVersion:
            owner = find_model(transaction, project, model)
            before = find_version(transaction, project, model, version)
            transitions.check_etag(f"version {version} of model {model!r}", etag, before.etag)
            now = self._clock()
            if archive_others:
                for other in transaction.ready_in_stage(project, model, stage):
                    if other.version != version:
                        transaction.replace_version(other, transitions.in_stage(other, Stage.ARCHIVED, now))
            after = transitions.in_stage(before, stage, now)
            transaction.replace_version(before, after)
            transaction.replace_model(owner, replace(owner, update_time=now))
            return after

        return self._store.write(work)

    # Questions, and the end of things.

    def lineage(self, project: str, model: str, version: int) -> LineageGraph:
        """Return where a version stands among others; see `MetadataBackend.lineage`."""
        start = self.get_version(project, model, version, include_deleted=True)
        return trace(start, partial(self._store.parents_of, project), partial(self._store.children_of, project))

    def get_statistics(self, project: str | None = None) -> Statistics:
        """Return counts; see `MetadataBackend.get_statistics`."""
        return self._store.statistics(project)

    def find_models_by_tag(self, key: str, value: str, project: str | None = None) -> list[RegisteredModel]:
        """Return the models with a tag; see `MetadataBackend.find_models_by_tag`."""
        return self._store.models_by_tag(key, value, project)

    def purge(self, *, before: datetime, pending_before: datetime, dry_run: bool = False) -> Purged:
        """Take away what was deleted long ago; see `CollectableBackend.purge`."""
        return self._store.purge(before=before, pending_before=pending_before, now=self._clock(), dry_run=dry_run)

    def referenced(self, digests: Collection[str], *, project: str | None = None, purged_before: datetime | None = None) -> frozenset[str]:
        """Return those digests that are referred to; see `CollectableBackend.referenced`."""
        return self._store.referenced(digests, project=project, purged_before=purged_before)

    def collection_lock(self, *, exclusive: bool) -> AbstractContextManager[None]:
        """Hold off garbage collection; see `CollectableBackend.collection_lock`."""
        return self._store.collection_lock(exclusive=exclusive)

    def check(self) -> None:
        """Find out whether the store answers; see `MetadataBackend.check`."""
        self._store.check()

    def close(self) -> None:
        """Give back files and connections."""
        self._store.close()

    def _change_model(
        self,
        project: str,
        name: str,
        etag: str,
        change: Callable[[RegisteredModel], RegisteredModel],
        *,
        include_deleted: bool = False,
    ) -> RegisteredModel:
        def work(transaction: Transaction) -> RegisteredModel:
            before = find_model(transaction, project, name, include_deleted=include_deleted)
            transitions.check_etag(f"model {name!r}", etag, before.etag)
            after = change(before)
            if after is not before:
                transaction.replace_model(before, after)
            return after

        return self._store.write(work)

    def _change_version(
        self,
        project: str,
        model: str,
        number: int,
        change: Callable[[ModelVersion], ModelVersion],
        *,
        etag: str = "",
        include_deleted: bool = False,
    ) -> ModelVersion:
        def work(transaction: Transaction) -> ModelVersion:
            owner = find_model(transaction, project, model)
            before = find_version(transaction, project, model, number, include_deleted=include_deleted)
            transitions.check_etag(f"version {number} of model {model!r}", etag, before.etag)
            after = change(before)
            if after is before:
                return before
            transaction.replace_version(before, after)
            transaction.replace_model(owner, _recounted(transaction, owner, before, after))
            return after

        return self._store.write(work)

    def _move_alias(self, transaction: Transaction, before: RegisteredModel, aliases: dict[str, int]) -> RegisteredModel:
        now = self._clock()
        after = replace(before, aliases=aliases, update_time=now, etag=transitions.new_etag())
        moved = {number for pair in (before.aliases.items() ^ aliases.items()) for number in pair[1:]}
        for number in sorted(moved):
            # The aliases of a version are part of what its etag stands for.
            found = transaction.version(before.project, before.name, number)
            if found is not None:
                transaction.replace_version(found, replace(found, update_time=now, etag=transitions.new_etag()))
        transaction.replace_model(before, after)
        return after


def _add_model(
    transaction: Transaction, project: str, name: str, new: NewModel, creator: str, request_id: str | None, now: datetime
) -> RegisteredModel:
    model = RegisteredModel(
        project=project,
        name=name,
        create_time=now,
        update_time=now,
        display_name=new.display_name,
        description=new.description,
        tags=new.tags,
        creator=creator,
        etag=transitions.new_etag(),
    )
    transaction.add_model(model, request_id)
    return model


def _recounted(transaction: Transaction, owner: RegisteredModel, before: ModelVersion, after: ModelVersion) -> RegisteredModel:
    """Return a model whose version has changed, with its counts put right."""
    count = owner.version_count + (before.state is VersionState.DELETED) - (after.state is VersionState.DELETED)
    latest = owner.latest_version
    if before.state is not after.state:
        newest = transaction.newest_ready(owner.project, owner.name)
        latest = 0 if newest is None else newest.version
    return replace(owner, version_count=count, latest_version=latest, update_time=after.update_time)
