"""What to say next on one incremental ADS stream: a state machine without any I/O.

The order is the point. Clusters and their endpoints go first, and until Envoy has acknowledged both nothing else does; it does so when
the clusters have warmed, first health check included. Then listeners, then the extensions and routes that they ask for, each after the
acknowledgement of the one before. Removals come last. So no route ever names a cluster that Envoy does not have; sent all at once, as
other control planes do, that is what answers 503 in the middle of a rollout.

Two answers cannot wait for an acknowledgement, because Envoy gives that only when it has them: endpoints of clusters that are warming,
and what a listener that is warming asks for. ADR 0018.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from envoy.service.discovery.v3 import discovery_pb2

from gateway.control_plane.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, Resource, Snapshot

_WILDCARD = "*"
_WILDCARD_TYPES = frozenset({CLUSTER, LISTENER})
# Within a group, those that follow are asked for by the first one.
_GROUPS = ((CLUSTER, ENDPOINTS), (LISTENER, EXTENSION, ROUTES))
_REMOVALS = (LISTENER, CLUSTER, ROUTES, EXTENSION, ENDPOINTS)
_ABSENT = ""  # version of a name of which Envoy was told that there is no such resource


@dataclass(frozen=True)
class Rejection:
    """Envoy refused a response.

    Args:
        snapshot_version: Version of the snapshot that was being sent.
        type_url: Type of the refused resources.
        names: Names of the resources in the response.
        message: Why, in Envoy's words.
    """

    snapshot_version: str
    type_url: str
    names: tuple[str, ...]
    message: str


@dataclass
class _Subscription:
    """What Envoy wants of one type, and what it is known to have."""

    is_wildcard: bool = False
    names: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        return self.is_wildcard or name in self.names


@dataclass(frozen=True)
class _Pending:
    nonce: str
    type_url: str
    names: tuple[str, ...]
    snapshot_version: str


class DeltaStream:
    """The server's side of one stream.

    Args:
        target: Configuration that Envoy is to have; None while there is none.
    """

    def __init__(self, target: Snapshot | None = None) -> None:
        self._target = target
        self._subscriptions: dict[str, _Subscription] = {}
        self._pending: dict[str, _Pending] = {}
        self._response_count = 0
        self._acknowledged: Snapshot | None = None
        self._rejection: Rejection | None = None

    @property
    def acknowledged(self) -> Snapshot | None:
        """The target, once Envoy has acknowledged all of it; None before."""
        return self._acknowledged

    def aim(self, target: Snapshot | None) -> list[discovery_pb2.DeltaDiscoveryResponse]:
        """Sets the configuration that Envoy is to have.

        Returns:
            What to send now.
        """
        self._target = target
        self._acknowledged = None
        return list(self._advance())

    def receive(self, request: discovery_pb2.DeltaDiscoveryRequest) -> list[discovery_pb2.DeltaDiscoveryResponse]:
        """Takes a message of Envoy's.

        Returns:
            What to send now. After a refusal that is nothing until the next `aim`.
        """
        subscription = self._subscribe(request)
        if request.response_nonce:
            self._settle(request, subscription)
        return list(self._advance())

    def take_rejection(self) -> Rejection | None:
        """Returns a refusal that was not yet taken."""
        rejection, self._rejection = self._rejection, None
        return rejection

    def _subscribe(self, request: discovery_pb2.DeltaDiscoveryRequest) -> _Subscription:
        known = self._subscriptions.get(request.type_url)
        subscription = known or self._subscriptions.setdefault(request.type_url, _Subscription())
        if known is None:
            # A stream that replaces a broken one tells what Envoy still has, and none of it is sent again.
            subscription.sent.update(request.initial_resource_versions)
            if request.type_url == ENDPOINTS and CLUSTER in self._pending:
                self._forget_endpoints(self._pending[CLUSTER].names)
            if request.type_url in _WILDCARD_TYPES and not request.resource_names_subscribe:
                subscription.is_wildcard = True
        for name in request.resource_names_subscribe:
            if name == _WILDCARD:
                subscription.is_wildcard = True
            else:
                if known is not None:
                    # Asked for anew, so it is wanted anew, whatever was sent before.
                    subscription.sent.pop(name, None)
                subscription.names.add(name)
        for name in request.resource_names_unsubscribe:
            if name == _WILDCARD:
                subscription.is_wildcard = False
            subscription.names.discard(name)
            subscription.sent.pop(name, None)
        return subscription

    def _settle(self, request: discovery_pb2.DeltaDiscoveryRequest, subscription: _Subscription) -> None:
        pending = self._pending.get(request.type_url)
        if pending is None or pending.nonce != request.response_nonce:
            return
        del self._pending[request.type_url]
        if request.HasField("error_detail"):
            # Envoy may have taken a part of it, so nothing is known of these any more.
            for name in pending.names:
                subscription.sent.pop(name, None)
            self._rejection = Rejection(pending.snapshot_version, pending.type_url, pending.names, request.error_detail.message)
            if self._target is not None and self._target.version == pending.snapshot_version:
                self._target = None

    def _advance(self) -> Iterator[discovery_pb2.DeltaDiscoveryResponse]:
        target = self._target
        if target is None or not self._subscriptions:
            return
        for group in _GROUPS:
            for position, type_url in enumerate(group):
                is_leader_done = all(self._is_settled(leader, target) for leader in group[:position])
                yield from self._additions(type_url, target, only_new=not is_leader_done)
            if not all(self._is_settled(type_url, target) for type_url in group):
                return
        for type_url in _REMOVALS:
            yield from self._removals(type_url, target)
            if self._pending:
                return
        self._acknowledged = target

    def _additions(self, type_url: str, target: Snapshot, *, only_new: bool) -> Iterator[discovery_pb2.DeltaDiscoveryResponse]:
        subscription = self._subscriptions.get(type_url)
        if subscription is None or type_url in self._pending:
            return
        wanted = target.of_type(type_url)
        changed = [
            resource
            for name, resource in wanted.items()
            if subscription.wants(name)
            and subscription.sent.get(name) != resource.version
            and not (only_new and subscription.sent.get(name, _ABSENT) != _ABSENT)
        ]
        missing = [name for name in subscription.names if name not in wanted and name not in subscription.sent]
        if not changed and not missing:
            return
        if type_url == CLUSTER:
            # Envoy warms a cluster that changed and waits for its endpoints, even where those are as before.
            self._forget_endpoints(resource.name for resource in changed if resource.name in subscription.sent)
        yield self._respond(type_url, subscription, changed, missing, target)

    def _is_settled(self, type_url: str, target: Snapshot) -> bool:
        """Whether Envoy has asked for all resources of a type and has acknowledged them."""
        if type_url in self._pending:
            return False
        wanted = target.of_type(type_url)
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            return not wanted
        return all(subscription.sent.get(name) == resource.version for name, resource in wanted.items())

    def _removals(self, type_url: str, target: Snapshot) -> Iterator[discovery_pb2.DeltaDiscoveryResponse]:
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            return
        wanted = target.of_type(type_url)
        gone = [name for name, version in subscription.sent.items() if version != _ABSENT and name not in wanted]
        if gone:
            yield self._respond(type_url, subscription, (), gone, target)

    def _forget_endpoints(self, names: Iterable[str]) -> None:
        endpoints = self._subscriptions.get(ENDPOINTS)
        if endpoints is not None:
            for name in names:
                endpoints.sent.pop(name, None)

    def _respond(
        self, type_url: str, subscription: _Subscription, changed: Iterable[Resource], gone: Iterable[str], target: Snapshot
    ) -> discovery_pb2.DeltaDiscoveryResponse:
        self._response_count += 1
        response = discovery_pb2.DeltaDiscoveryResponse(
            type_url=type_url, nonce=str(self._response_count), system_version_info=target.version, removed_resources=sorted(gone)
        )
        for resource in sorted(changed, key=lambda each: each.name):
            response.resources.add(name=resource.name, version=resource.version, resource=resource.body)
            subscription.sent[resource.name] = resource.version
        for name in response.removed_resources:
            # A name that is still asked for is remembered as absent, or it would be reported again and again.
            if name in subscription.names:
                subscription.sent[name] = _ABSENT
            else:
                subscription.sent.pop(name, None)
        names = (*(resource.name for resource in response.resources), *response.removed_resources)
        self._pending[type_url] = _Pending(response.nonce, type_url, names, target.version)
        return response


def versions_of(snapshot: Snapshot, type_url: str) -> Mapping[str, str]:
    """Returns the versions of the resources of a type by name."""
    return {name: resource.version for name, resource in snapshot.of_type(type_url).items()}
