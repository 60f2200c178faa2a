"""Makes what a feature repository of Feast defines."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlmesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from mlmesh.feast_import import (
    ENTITY,
    MADE,
    NOT_IMPORTED,
    SERVICE,
    UNCHANGED,
    VIEW,
    FeastEntity,
    FeastImport,
    FeastItem,
    FeastService,
    FeastView,
    feast_definitions,
    is_same_service,
    is_same_view,
    read_dump,
)
from mlmesh.sync.blocking import run_blocking
from mlmesh.sync.feature_services import ServiceCalls

_REFUSALS = (AlreadyExists, FailedPrecondition, InvalidArgument, NotFound)
"""What is said of one definition; the others may be right."""


class FeastImportCalls(ServiceCalls):
    """Calls for those who come from Feast."""

    def import_feast(
        self,
        dump: str | Path | Mapping[str, Any],
        *,
        datasets: Mapping[str, str] | None = None,
        write_times: bool = True,
        dry_run: bool = False,
        project: str = "",
        timeout_s: float | None = None,
    ) -> FeastImport:
        """Makes the entities, feature views and feature services of a feature repository of Feast. What is there already stays as it is.

        ```python
        done = mesh.features.import_feast("registry.json", datasets={"driver_stats_source": "driver_stats"})
        print(done.not_imported)
        ```

        Args:
            dump: File with what `feast registry-dump` prints; or that, parsed.
            datasets: Dataset by the name of the data source whose rows it has. A source that is not named has the dataset of its own name;
                where it belongs to a push source or a stream, the view is one that is pushed to alone.
            write_times: Whether `created_timestamp_column` becomes the write time.
            dry_run: Whether nothing is made, only said.
            project: Project; empty = `default`.
            timeout_s: Deadline of each call, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.InvalidArgument: It is no such dump.
        """
        return import_feast(self, dump, datasets=datasets, write_times=write_times, dry_run=dry_run, project=project, timeout_s=timeout_s)


def import_feast(
    features: ServiceCalls,
    dump: str | Path | Mapping[str, Any],
    *,
    datasets: Mapping[str, str] | None = None,
    write_times: bool = True,
    dry_run: bool = False,
    project: str = "",
    timeout_s: float | None = None,
) -> FeastImport:
    """Does what `FeastImportCalls.import_feast` says, by the calls of `features`."""
    read = dump if isinstance(dump, Mapping) else run_blocking(read_dump, dump)
    wanted = feast_definitions(read, datasets=datasets, write_times=write_times)
    importing = _Import(features, is_dry_run=dry_run, project=project, timeout_s=timeout_s)
    for entity in wanted.entities:
        importing.keep(ENTITY, entity.name, importing.entity, entity)
    for view in wanted.views:
        importing.keep(VIEW, view.name, importing.view, view)
    for service in wanted.services:
        importing.keep(SERVICE, service.name, importing.service, service)
    return FeastImport((*importing.items, *wanted.refused), dry_run)


class _Import:
    """An import that is under way.

    Args:
        features: Makes the calls.
        is_dry_run: Whether nothing is made.
        project: Where.
        timeout_s: Deadline of each call, in seconds.
    """

    def __init__(self, features: ServiceCalls, *, is_dry_run: bool, project: str, timeout_s: float | None) -> None:
        self.items: list[FeastItem] = []
        self._features = features
        self._is_dry_run = is_dry_run
        self._where: dict[str, Any] = {"project": project, "timeout_s": timeout_s}

    def keep(self, kind: str, name: str, make: Any, wanted: Any) -> None:
        """Makes a definition, and notes what became of it."""
        try:
            outcome, note = make(wanted)
        except _REFUSALS as error:
            outcome, note = NOT_IMPORTED, error.message
        self.items.append(FeastItem(kind, name, outcome, note))

    def entity(self, wanted: FeastEntity) -> tuple[str, str]:
        """Makes an entity, unless it is there; returns the outcome and a note."""
        try:
            there = self._features.get_entity(wanted.name, **self._where)
        except NotFound:
            if not self._is_dry_run:
                texts: dict[str, Any] = {"description": wanted.description, "labels": wanted.labels}
                self._features.create_entity(wanted.name, wanted.join_keys, **texts, **self._where)
            return MADE, ""
        if there.join_keys == wanted.join_keys:
            return UNCHANGED, ""
        return NOT_IMPORTED, f"there is one of this name whose key is {there.join_keys}, and Feast's is {wanted.join_keys}"

    def view(self, wanted: FeastView) -> tuple[str, str]:
        """Likewise a view."""
        try:
            there = self._features.get_feature_view(wanted.name, **self._where)
        except NotFound:
            if not self._is_dry_run:
                texts: dict[str, Any] = {"description": wanted.description, "labels": wanted.labels}
                self._features.create_feature_view(wanted.name, wanted.spec, **texts, **self._where)
            return MADE, wanted.note
        if is_same_view(there, wanted.spec):
            return UNCHANGED, wanted.note
        return (
            NOT_IMPORTED,
            _other(there.version),
        )

    def service(self, wanted: FeastService) -> tuple[str, str]:
        """Likewise a service."""
        try:
            there = self._features.get_feature_service(wanted.name, **self._where)
        except NotFound:
            if not self._is_dry_run:
                texts: dict[str, Any] = {"description": wanted.description, "labels": wanted.labels}
                self._features.create_feature_service(wanted.name, wanted.spec, **texts, **self._where)
            return MADE, ""
        if is_same_service(there.spec, wanted.spec):
            return UNCHANGED, ""
        return (
            NOT_IMPORTED,
            _other(there.version),
        )


def _other(version: int) -> str:
    return f"there is one of this name, in version {version}, that is otherwise; change it, or import into another project"
