"""Configurations as values: versions, files, and the control plane that keeps the last good one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import given
from hypothesis import strategies as st

from gateway.control_plane.server import ControlPlane, SnapshotRejected, SnapshotUnacknowledged
from gateway.control_plane.snapshot import CLUSTER, LISTENER, Snapshot, SnapshotError, from_bytes, snapshot_of, to_bytes
from gateway.control_plane.snapshot_file import read_snapshot, write_snapshot

NAMES = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=6)


def _clusters(*names: str) -> Snapshot:
    return snapshot_of(cluster_pb2.Cluster(name=name) for name in names)


@given(NAMES)
def test_a_snapshot_survives_being_written_and_read(names: list[str]) -> None:
    snapshot = _clusters(*names)

    assert from_bytes(to_bytes(snapshot)) == snapshot


@given(NAMES, st.randoms(use_true_random=False))
def test_the_version_does_not_depend_on_the_order(names: list[str], random: object) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert _clusters(*names).version == _clusters(*shuffled).version


def test_a_name_that_is_there_twice_is_refused() -> None:
    with pytest.raises(SnapshotError, match="twice"):
        _clusters("a", "a")


def test_a_message_that_is_no_resource_is_refused() -> None:
    with pytest.raises(SnapshotError, match="not a type of resource"):
        snapshot_of([base_pb2.Node(id="x")])


def test_a_file_that_was_altered_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "snapshot.binpb"
    write_snapshot(path, _clusters("a", "b"))
    assert read_snapshot(path) == _clusters("a", "b")

    path.write_bytes(path.read_bytes().replace(b"\n\x01a", b"\n\x01c"))
    assert read_snapshot(path) is None
    path.write_bytes(b"\xff\xff rubbish")
    assert read_snapshot(path) is None
    assert read_snapshot(tmp_path / "none") is None


class Node:
    """A connected Envoy that takes clusters and listeners."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane
        self.session = control_plane.connect()
        self.responses = [*self._tell(CLUSTER), *self._tell(LISTENER)]

    def acknowledge(self, error: str = "") -> None:
        """Answers everything that was sent, and takes what comes of it."""
        while self.responses:
            response = self.responses.pop(0)
            self.responses += self._tell(response.type_url, response.nonce, error)
        while not self.session.inbox.empty():
            event = self.session.inbox.get()
            assert event is not None
            self.responses += event(self.session.stream)
            self._control_plane.note_progress(self.session)

    def _tell(self, type_url: str, nonce: str = "", error: str = "") -> list[discovery_pb2.DeltaDiscoveryResponse]:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce)
        if error:
            request.error_detail.message = error
        responses = self.session.stream.receive(request)
        self._control_plane.note_progress(self.session)
        return responses


def test_what_every_node_has_acknowledged_is_in_force_and_kept() -> None:
    kept: list[Snapshot] = []
    control_plane = ControlPlane(on_acknowledged=kept.append)
    control_plane.publish(_clusters("a"))
    nodes = [Node(control_plane), Node(control_plane)]

    nodes[0].acknowledge()
    with pytest.raises(SnapshotUnacknowledged, match="1 of 2"):
        control_plane.wait_acknowledged(_clusters("a"), 0.01)
    nodes[1].acknowledge()

    control_plane.wait_acknowledged(_clusters("a"), 0.01, nodes=2)
    assert kept == [_clusters("a")]


def test_a_refused_configuration_gives_way_to_the_last_good_one() -> None:
    control_plane = ControlPlane()
    control_plane.publish(_clusters("good"))
    node = Node(control_plane)
    node.acknowledge()

    control_plane.publish(_clusters("bad"))
    node.acknowledge()
    node.acknowledge("no such thing")

    assert control_plane.target == _clusters("good")
    with pytest.raises(SnapshotRejected, match="no such thing"):
        control_plane.wait_acknowledged(_clusters("bad"), 1)
    node.acknowledge()
    node.acknowledge()
    control_plane.wait_acknowledged(_clusters("good"), 1)


def test_a_refused_first_configuration_leaves_nothing_to_send() -> None:
    control_plane = ControlPlane()
    control_plane.publish(_clusters("bad"))
    Node(control_plane).acknowledge("no")

    assert control_plane.target is None


def test_a_refused_last_good_configuration_is_not_sent_round_and_round() -> None:
    control_plane = ControlPlane(last_good=_clusters("old"))
    node = Node(control_plane)

    node.acknowledge("no longer understood")

    assert control_plane.target is None
    assert node.responses == []


def test_a_refused_configuration_may_be_published_again() -> None:
    control_plane = ControlPlane()
    control_plane.publish(_clusters("bad"))
    Node(control_plane).acknowledge("no")

    control_plane.publish(_clusters("bad"))

    assert control_plane.target == _clusters("bad")


def test_waiting_ends_as_soon_as_a_node_connects_and_acknowledges() -> None:
    control_plane = ControlPlane()
    control_plane.publish(_clusters("a"))
    waiter = threading.Thread(target=control_plane.wait_acknowledged, args=(_clusters("a"), 10))
    waiter.start()

    Node(control_plane).acknowledge()

    waiter.join(5)
    assert not waiter.is_alive()


def test_a_node_that_leaves_is_not_waited_for() -> None:
    control_plane = ControlPlane()
    control_plane.publish(_clusters("a"))
    stays, leaves = Node(control_plane), Node(control_plane)
    stays.acknowledge()

    control_plane.disconnect(leaves.session)

    control_plane.wait_acknowledged(_clusters("a"), 0.01)
    assert control_plane.node_count == 1
