"""The order in which a configuration reaches Envoy, whatever Envoy does meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.control_plane.deltas import DeltaStream
from gateway.control_plane.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, Snapshot, snapshot_of

Response = discovery_pb2.DeltaDiscoveryResponse


def _snapshot(clusters: dict[str, int], routes_to: frozenset[str], listener: int = 1, key: int = 1) -> Snapshot:
    """A configuration: clusters with a revision each, a listener with a revision, routes to some of the clusters."""
    messages = []
    for name, revision in clusters.items():
        cluster = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.EDS, alt_stat_name=f"r{revision}")
        cluster.eds_cluster_config.eds_config.ads.SetInParent()
        messages += [cluster, endpoint_pb2.ClusterLoadAssignment(cluster_name=name)]
    if listener:
        messages.append(listener_pb2.Listener(name="public", stat_prefix=f"l{listener}"))
        messages.append(extension_pb2.TypedExtensionConfig(name="jwt", typed_config={"value": bytes([key])}))
        host = {"name": "all", "domains": ["*"], "routes": [{"route": {"cluster": name}} for name in sorted(routes_to)]}
        messages.append(route_pb2.RouteConfiguration(name="public", virtual_hosts=[host]))
    return snapshot_of(messages)


@dataclass
class Envoy:
    """The client's side, as Envoy behaves: it holds back the acknowledgement of clusters until they have their endpoints."""

    stream: DeltaStream
    have: dict[str, dict[str, str]] = field(default_factory=lambda: {t: {} for t in (CLUSTER, ENDPOINTS, LISTENER, EXTENSION, ROUTES)})
    asked: dict[str, set[str]] = field(default_factory=lambda: {ENDPOINTS: set(), EXTENSION: set(), ROUTES: set()})
    opened: set[str] = field(default_factory=set)
    warming: set[str] = field(default_factory=set)
    held: Response | None = None
    inbox: list[Response] = field(default_factory=list)
    sent_types: list[str] = field(default_factory=list)
    reject_next: bool = False

    def connect(self) -> None:
        self.take(self._request(CLUSTER))
        self.run()
        self.take(self._request(LISTENER))
        self.run()

    def aim(self, target: Snapshot | None) -> None:
        self.take(self.stream.aim(target))

    def take(self, responses: list[Response]) -> None:
        self.inbox += responses

    def run(self) -> None:
        while self.step():
            pass

    def step(self) -> bool:
        if not self.inbox:
            return False
        response = self.inbox.pop(0)
        self.sent_types.append(response.type_url)
        if self.reject_next:
            self.reject_next = False
            self.take(self._acknowledge(response, error="no"))
            return True
        for resource in response.resources:
            # What it has stopped asking for meanwhile, it drops: so the protocol allows; it was not tried with an Envoy.
            if resource.name in self.asked.get(response.type_url, {resource.name}):
                self.have[response.type_url][resource.name] = resource.version
        for name in response.removed_resources:
            self.have[response.type_url].pop(name, None)
        self._check()
        if response.type_url == CLUSTER:
            self._clusters(response)
        elif response.type_url == ENDPOINTS:
            # Told that there are none, it goes on without (seen with Envoy 1.40).
            self.warming -= {resource.name for resource in response.resources} | set(response.removed_resources)
            self.take(self._acknowledge(response))
            self._release()
        else:
            if response.type_url == LISTENER:
                self._ask(EXTENSION, {"jwt"} if self.have[LISTENER] else set())
                self._ask(ROUTES, {"public"} if self.have[LISTENER] else set())
            self.take(self._acknowledge(response))
        return True

    def ask_for_all(self) -> None:
        self._ask(ENDPOINTS, set(self.have[CLUSTER]))
        self._ask(EXTENSION, {"jwt"} if self.have[LISTENER] else set())
        self._ask(ROUTES, {"public"} if self.have[LISTENER] else set())

    def _clusters(self, response: Response) -> None:
        self.held = response
        self.warming |= {resource.name for resource in response.resources}
        self._ask(ENDPOINTS, set(self.have[CLUSTER]))
        self._release()

    def _release(self) -> None:
        self.warming &= set(self.have[CLUSTER])
        if self.held is not None and not self.warming:
            held, self.held = self.held, None
            self.take(self._acknowledge(held))

    def _ask(self, type_url: str, wanted: set[str]) -> None:
        new, gone = wanted - self.asked[type_url], self.asked[type_url] - wanted
        self.asked[type_url] = wanted
        for name in gone:
            self.have[type_url].pop(name, None)
        if new or gone:
            self.take(self._request(type_url, new, gone))

    def _request(self, type_url: str, new: set[str] = frozenset(), gone: set[str] = frozenset()) -> list[Response]:  # type: ignore[assignment]
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_url, resource_names_subscribe=sorted(new), resource_names_unsubscribe=sorted(gone)
        )
        if type_url not in self.opened:
            self.opened.add(type_url)
            request.initial_resource_versions.update(self.have[type_url])
        return self.stream.receive(request)

    def _acknowledge(self, response: Response, error: str = "") -> list[Response]:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if error:
            request.error_detail.message = error
        return self.stream.receive(request)

    def _check(self) -> None:
        """No route names a cluster that is not there or still warms: that request would be a 503."""
        if not self.have[ROUTES]:
            return
        routes = ROUTE_TARGETS[self.have[ROUTES]["public"]]
        assert routes <= set(self.have[CLUSTER]), f"routes to {routes - set(self.have[CLUSTER])} without a cluster"


ROUTE_TARGETS: dict[str, frozenset[str]] = {}


def _target(clusters: dict[str, int], routes_to: frozenset[str], listener: int = 1, key: int = 1) -> Snapshot:
    return _made(tuple(sorted(clusters.items())), routes_to, listener, key)


@cache
def _made(clusters: tuple[tuple[str, int], ...], routes_to: frozenset[str], listener: int, key: int) -> Snapshot:
    snapshot = _snapshot(dict(clusters), routes_to, listener, key)
    if listener:
        ROUTE_TARGETS[snapshot.of_type(ROUTES)["public"].version] = routes_to
    return snapshot


def _versions(snapshot: Snapshot) -> dict[str, dict[str, str]]:
    return {type_url: {name: resource.version for name, resource in members.items()} for type_url, members in snapshot.resources.items()}


NAMES = st.sampled_from(["a", "b", "c", "d"])
TARGETS = st.builds(
    lambda clusters, routed, listener, key: _target(clusters, frozenset(routed) & frozenset(clusters), listener, key),
    st.dictionaries(NAMES, st.integers(1, 3), min_size=1),
    st.sets(NAMES),
    st.integers(1, 2),
    st.integers(1, 3),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TARGETS, st.integers(0, 6)), min_size=1, max_size=6))
def test_whatever_is_published_and_when_envoy_ends_with_the_last_and_never_routes_to_nothing(
    plan: list[tuple[Snapshot, int]],
) -> None:
    envoy = Envoy(DeltaStream())
    envoy.connect()
    for target, steps in plan:
        envoy.aim(target)
        for _ in range(steps):
            envoy.step()
    envoy.run()

    last = plan[-1][0]
    assert envoy.have == _versions(last)
    assert envoy.stream.acknowledged is last


@settings(max_examples=150, deadline=None)
@given(TARGETS, TARGETS, st.integers(0, 12))
def test_a_stream_that_breaks_anywhere_is_taken_up_by_a_new_one(before: Snapshot, after: Snapshot, steps: int) -> None:
    envoy = Envoy(DeltaStream(before))
    envoy.connect()
    envoy.aim(after)
    for _ in range(steps):
        envoy.step()

    again = Envoy(DeltaStream(after), have=envoy.have, warming=set())
    again.connect()
    again.ask_for_all()
    again.run()

    assert again.have == _versions(after)
    assert again.stream.acknowledged is after


def test_a_new_stream_of_an_envoy_that_has_everything_sends_nothing() -> None:
    target = _target({"a": 1}, frozenset("a"))
    envoy = Envoy(DeltaStream(target))
    envoy.connect()
    envoy.run()

    stream = DeltaStream(target)
    sent: list[Response] = []
    for type_url, names in ((CLUSTER, []), (ENDPOINTS, ["a"]), (LISTENER, []), (EXTENSION, ["jwt"]), (ROUTES, ["public"])):
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
        request.initial_resource_versions.update(envoy.have[type_url])
        sent += stream.receive(request)

    assert sent == []
    assert stream.acknowledged is target


def test_clusters_come_first_and_removals_last() -> None:
    envoy = Envoy(DeltaStream(_target({"a": 1}, frozenset("a"))))
    envoy.connect()
    envoy.run()
    envoy.sent_types.clear()

    envoy.aim(_target({"b": 1}, frozenset("b"), listener=2, key=2))
    envoy.run()

    assert envoy.sent_types == [CLUSTER, ENDPOINTS, LISTENER, EXTENSION, ROUTES, CLUSTER]


def test_a_change_of_weights_sends_the_routes_and_nothing_else() -> None:
    clusters = {"a": 1, "b": 1}
    envoy = Envoy(DeltaStream(_target(clusters, frozenset("a"))))
    envoy.connect()
    envoy.run()
    envoy.sent_types.clear()

    envoy.aim(_target(clusters, frozenset("ab")))
    envoy.run()

    assert envoy.sent_types == [ROUTES]


def test_a_cluster_that_changes_gets_its_endpoints_again_since_envoy_waits_for_them() -> None:
    envoy = Envoy(DeltaStream(_target({"a": 1}, frozenset("a"))))
    envoy.connect()
    envoy.run()
    envoy.sent_types.clear()

    envoy.aim(_target({"a": 2}, frozenset("a")))
    envoy.run()

    assert envoy.sent_types == [CLUSTER, ENDPOINTS]


@pytest.mark.parametrize("at", range(5))
def test_after_a_refusal_nothing_more_is_sent_until_the_last_good_configuration_is_put_back(at: int) -> None:
    good = _target({"a": 1}, frozenset("a"))
    envoy = Envoy(DeltaStream(good))
    envoy.connect()
    envoy.run()

    bad = _target({"a": 1, "b": 1}, frozenset("ab"), listener=2, key=2)
    envoy.aim(bad)
    for _ in range(at):
        envoy.step()
    envoy.reject_next = True
    envoy.run()
    rejection = envoy.stream.take_rejection()
    assert envoy.stream.acknowledged is None
    assert envoy.stream.take_rejection() is None

    assert rejection is not None
    assert (rejection.snapshot_version, rejection.message) == (bad.version, "no")
    envoy.aim(good)
    envoy.run()
    assert envoy.have[ROUTES] == _versions(good)[ROUTES]
    assert envoy.have[LISTENER] == _versions(good)[LISTENER]


def test_a_late_acknowledgement_of_something_else_changes_nothing() -> None:
    stream = DeltaStream(_target({"a": 1}, frozenset("a")))
    (first,) = stream.receive(discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER))

    assert stream.receive(discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER, response_nonce="99")) == []
    assert stream.acknowledged is None
    assert first.resources[0].name == "a"


def test_a_name_that_does_not_exist_is_reported_as_absent_once() -> None:
    stream = DeltaStream(_target({"a": 1}, frozenset("a")))
    request = discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINTS, resource_names_subscribe=["zzz"])

    (response,) = stream.receive(request)
    after = stream.receive(discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINTS, response_nonce=response.nonce))

    assert list(response.removed_resources) == ["zzz"]
    assert after == []
