"""A configuration of Envoy as a set of named resources, with versions made from their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message

from gateway.typed import any_of

_PREFIX = "type.googleapis.com/"
_VERSION_DIGITS = 16

CLUSTER = _PREFIX + cluster_pb2.Cluster.DESCRIPTOR.full_name
ENDPOINTS = _PREFIX + endpoint_pb2.ClusterLoadAssignment.DESCRIPTOR.full_name
LISTENER = _PREFIX + listener_pb2.Listener.DESCRIPTOR.full_name
EXTENSION = _PREFIX + extension_pb2.TypedExtensionConfig.DESCRIPTOR.full_name
ROUTES = _PREFIX + route_pb2.RouteConfiguration.DESCRIPTOR.full_name

TYPES = (CLUSTER, ENDPOINTS, LISTENER, EXTENSION, ROUTES)
"""Types of resources, in the order in which they are to reach Envoy: what is referred to before what refers to it."""


class SnapshotError(ValueError):
    """Resources do not make a configuration: a type that is not known, or a name that is there twice."""


@dataclass(frozen=True)
class Resource:
    """One named piece of configuration.

    Args:
        name: Name, unique within its type.
        version: Digest of its content.
        body: The packed message.
    """

    name: str
    version: str
    body: any_pb2.Any


@dataclass(frozen=True)
class Snapshot:
    """A whole configuration. Make it with `snapshot_of`.

    Args:
        version: Digest of all resources.
        resources: Resources by type and name.
    """

    version: str
    resources: Mapping[str, Mapping[str, Resource]]

    def of_type(self, type_url: str) -> Mapping[str, Resource]:
        """Returns the resources of a type by name."""
        return self.resources.get(type_url, MappingProxyType({}))


def snapshot_of(messages: Iterable[Message]) -> Snapshot:
    """Makes a snapshot.

    Args:
        messages: Clusters, ClusterLoadAssignments, Listeners, TypedExtensionConfigs and RouteConfigurations, in any order.

    Returns:
        A snapshot whose version depends on nothing but the content.

    Raises:
        SnapshotError: Another type is among them, or a name is there twice.
    """
    return _snapshot((_name_of(message), any_of(message)) for message in messages)


def to_bytes(snapshot: Snapshot) -> bytes:
    """Writes a snapshot, for `from_bytes`."""
    response = discovery_pb2.DeltaDiscoveryResponse(system_version_info=snapshot.version)
    for resource in _all_resources(snapshot):
        response.resources.add(name=resource.name, version=resource.version, resource=resource.body)
    data: bytes = response.SerializeToString(deterministic=True)
    return data


def from_bytes(data: bytes) -> Snapshot:
    """Reads what `to_bytes` wrote.

    Raises:
        SnapshotError: It is something else, or was altered.
    """
    response = discovery_pb2.DeltaDiscoveryResponse()
    try:
        response.ParseFromString(data)
    except DecodeError as error:
        raise SnapshotError(f"not a snapshot: {error}") from error
    snapshot = _snapshot((resource.name, resource.resource) for resource in response.resources)
    if snapshot.version != response.system_version_info:
        raise SnapshotError("the snapshot's content does not match its version")
    return snapshot


def _snapshot(named: Iterable[tuple[str, any_pb2.Any]]) -> Snapshot:
    resources: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPES}
    for name, body in named:
        if body.type_url not in resources:
            raise SnapshotError(f"{body.type_url!r} is not a type of resource; known are {', '.join(TYPES)}")
        if name in resources[body.type_url]:
            raise SnapshotError(f"{name!r} is there twice as {body.type_url.removeprefix(_PREFIX)}")
        resources[body.type_url][name] = Resource(name, _digest(body.value), body)
    frozen = MappingProxyType({type_url: MappingProxyType(members) for type_url, members in resources.items()})
    digest = hashlib.sha256()
    for type_url, members in frozen.items():
        for name in sorted(members):
            digest.update(f"{type_url}\0{name}\0{members[name].version}\n".encode())
    return Snapshot(digest.hexdigest()[:_VERSION_DIGITS], frozen)


def _name_of(message: Any) -> str:
    name: str = message.cluster_name if isinstance(message, endpoint_pb2.ClusterLoadAssignment) else getattr(message, "name", "")
    return name


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_VERSION_DIGITS]


def _all_resources(snapshot: Snapshot) -> Iterable[Resource]:
    for members in snapshot.resources.values():
        for name in sorted(members):
            yield members[name]
