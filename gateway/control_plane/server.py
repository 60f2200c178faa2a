"""The ADS server, and what the rest of the process does with it: publish a configuration and wait until Envoy has it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from gateway.control_plane.deltas import DeltaStream, Rejection
from gateway.control_plane.snapshot import Snapshot

_LOGGER = logging.getLogger(__name__)
_STOP_POLL_S = 0.5


class SnapshotRejected(Exception):
    """Envoy refused a configuration; it runs on with the last good one.

    Args:
        rejection: What it refused and why.
    """

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(f"Envoy refused {rejection.type_url.rpartition('.')[2]} {', '.join(rejection.names)}: {rejection.message}")
        self.rejection = rejection


class SnapshotUnacknowledged(Exception):
    """Not every Envoy acknowledged a configuration in time; it stays the target."""


class _Session:
    """One Envoy that is connected."""

    def __init__(self, target: Snapshot | None) -> None:
        self.stream = DeltaStream(target)
        self.inbox: queue.SimpleQueue[Callable[[DeltaStream], list[discovery_pb2.DeltaDiscoveryResponse]] | None] = queue.SimpleQueue()
        self.node = ""


class ControlPlane:
    """Knows the configuration that every Envoy is to have, and how far each of them is. Safe to use from several threads.

    Args:
        last_good: Configuration to fall back to, acknowledged in an earlier life; None = none.
        on_acknowledged: Called with every configuration that an Envoy has acknowledged for the first time.
    """

    def __init__(self, last_good: Snapshot | None = None, on_acknowledged: Callable[[Snapshot], object] = lambda _: None) -> None:
        self._changed = threading.Condition()
        self._target = last_good
        self._last_good = last_good
        self._on_acknowledged = on_acknowledged
        self._sessions: list[_Session] = []
        self._rejections: dict[str, Rejection] = {}

    @property
    def target(self) -> Snapshot | None:
        """The configuration that every Envoy is to have."""
        with self._changed:
            return self._target

    @property
    def node_count(self) -> int:
        """How many Envoys are connected."""
        with self._changed:
            return len(self._sessions)

    def publish(self, snapshot: Snapshot) -> None:
        """Makes a configuration the target. Returns at once; `wait_acknowledged` tells when it is in force.

        A configuration that is the target already is not sent again.
        """
        with self._changed:
            if self._target is not None and self._target.version == snapshot.version:
                return
            self._rejections.pop(snapshot.version, None)
            self._aim(snapshot)

    def wait_acknowledged(self, snapshot: Snapshot, timeout_s: float, *, nodes: int = 1) -> None:
        """Waits until every connected Envoy has acknowledged a configuration.

        Args:
            snapshot: What was published.
            timeout_s: Longest wait, in seconds.
            nodes: Fewest Envoys that have to be connected.

        Raises:
            SnapshotRejected: An Envoy refused it.
            SnapshotUnacknowledged: The time is over.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                if snapshot.version in self._rejections:
                    raise SnapshotRejected(self._rejections[snapshot.version])
                done = [session for session in self._sessions if _has(session, snapshot)]
                if len(done) == len(self._sessions) >= nodes:
                    return
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise SnapshotUnacknowledged(
                        f"{len(done)} of {len(self._sessions)} connected Envoys have acknowledged {snapshot.version} after {timeout_s} s"
                    )

    def connect(self) -> _Session:
        """Opens the session of an Envoy."""
        with self._changed:
            session = _Session(self._target)
            self._sessions.append(session)
            self._changed.notify_all()
            return session

    def disconnect(self, session: _Session) -> None:
        """Ends the session of an Envoy."""
        with self._changed:
            self._sessions.remove(session)
            self._changed.notify_all()

    def note_progress(self, session: _Session) -> None:
        """Takes account of what a session's stream has learnt."""
        rejection = session.stream.take_rejection()
        acknowledged = session.stream.acknowledged
        is_new = False
        with self._changed:
            if rejection is not None:
                self._revert(rejection)
            if acknowledged is not None and (self._last_good is None or self._last_good.version != acknowledged.version):
                self._last_good, is_new = acknowledged, True
            self._changed.notify_all()
        if is_new and acknowledged is not None:
            _LOGGER.info("configuration %s is in force", acknowledged.version)
            self._on_acknowledged(acknowledged)

    def _revert(self, rejection: Rejection) -> None:
        _LOGGER.error("Envoy refused %s of configuration %s: %s", rejection.type_url, rejection.snapshot_version, rejection.message)
        self._rejections[rejection.snapshot_version] = rejection
        if self._target is None or self._target.version != rejection.snapshot_version:
            return
        is_last_good = self._last_good is not None and self._last_good.version == rejection.snapshot_version
        self._aim(None if is_last_good else self._last_good)

    def _aim(self, snapshot: Snapshot | None) -> None:
        self._target = snapshot
        for session in self._sessions:
            session.inbox.put(lambda stream: stream.aim(snapshot))


class AdsServicer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]  # xds-protos has no types
    """Serves the incremental aggregated discovery service.

    Args:
        control_plane: What it serves.
        should_end: Whether the stream of the current call is to end, because the server stops. Asked twice a second.
    """

    def __init__(self, control_plane: ControlPlane, should_end: Callable[[], bool]) -> None:
        self._control_plane = control_plane
        self._should_end = should_end

    def DeltaAggregatedResources(  # noqa: N802 (named by the contract)
        self, requests: Iterator[discovery_pb2.DeltaDiscoveryRequest], context: Any
    ) -> Iterator[discovery_pb2.DeltaDiscoveryResponse]:
        """Tells one Envoy its configuration, for as long as it is connected."""
        del context
        session = self._control_plane.connect()
        reader = threading.Thread(target=_read, args=(requests, session), name="ads-reader", daemon=True)
        reader.start()
        try:
            while not self._should_end():
                try:
                    event = session.inbox.get(timeout=_STOP_POLL_S)
                except queue.Empty:
                    continue
                if event is None:
                    return
                responses = event(session.stream)
                self._control_plane.note_progress(session)
                yield from responses
        finally:
            self._control_plane.disconnect(session)
            _LOGGER.info("Envoy %s has disconnected", session.node)


def _read(requests: Iterator[discovery_pb2.DeltaDiscoveryRequest], session: _Session) -> None:
    try:
        for request in requests:
            if not session.node and request.node.id:
                session.node = request.node.id
                _LOGGER.info("Envoy %s has connected", session.node)
            session.inbox.put(lambda stream, request=request: stream.receive(request))  # type: ignore[misc]
    except Exception as error:  # gRPC raises a bare Exception from the iterator of a stream that broke
        _LOGGER.debug("ADS stream of %s ended: %r", session.node, error)
    finally:
        session.inbox.put(None)


def _has(session: _Session, snapshot: Snapshot) -> bool:
    acknowledged = session.stream.acknowledged
    return acknowledged is not None and acknowledged.version == snapshot.version
