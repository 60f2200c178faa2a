"""Entities and views as tests need them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.definitions.records import Entity, KeyColumn, ServiceVersion, ViewVersion
from servers.features.errors import ServiceNotFound, ViewNotFound
from servers.features.online import JoinKey, JoinKeyType

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def entity(name: str, **join_keys: str) -> Entity:
    """An entity; `user_id="int64"`."""
    keys = tuple(JoinKey(key, JoinKeyType(kind)) for key, kind in join_keys.items())
    return Entity(name, "default", name, keys, "", "", {}, 1, "ada", NOW, NOW)


def view_version(name: str, features: Sequence[str], version: int = 1, **join_keys: str) -> ViewVersion:
    """A version of a view over a dataset."""
    spec = pb.FeatureViewSpec(
        entities=["e"],
        dataset=pb.DatasetSource(dataset="d"),
        event_time_column="at",
        features=[pb.Feature(name=each, type="float64", column=each) for each in features],
    )
    keys = tuple(KeyColumn(JoinKey(key, JoinKeyType(kind)), key) for key, kind in (join_keys or {"user_id": "int64"}).items())
    return ViewVersion(f"{name}-{version}", name, "default", name, version, spec, keys, "d", "", "ada", NOW)


class Known:
    """Versions in memory."""

    def __init__(self, views: Sequence[ViewVersion], services: Sequence[ServiceVersion] = ()) -> None:
        self._views = {(each.view, each.version): each for each in views}
        self._services = {each.service: each for each in services}

    def view_versions(self, project: str, wanted: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], ViewVersion]:
        found: dict[Any, ViewVersion] = {}
        for name, version in wanted:
            versions = {number: each for (view, number), each in self._views.items() if view == name}
            if not versions:
                raise ViewNotFound(project, name)
            found[name, version] = versions[version or max(versions)]
        return found

    def service_version(self, project: str, name: str, version: int = 0) -> ServiceVersion:
        if name not in self._services:
            raise ServiceNotFound(project, name)
        return self._services[name]
