"""Takes rows of views: into the dataset, which training sets read, and into the online store."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mlops.features.v1 import feature_serving_service_pb2 as pb
from mlops.ingestion.v1.ingestion_pb2 import FILE_FORMAT_ARROW

from servers.features.definitions.records import ViewVersion
from servers.features.errors import ViewVersionGone
from servers.features.online import OnlineRow, OnlineStore, Written
from servers.features.peers.ingestion_peer import IngestionPeer
from servers.features.rights import WRITE_DATA, check_right
from servers.features.serving.errors import PushTargetNotPossible, ViewIsOfflineOnly
from servers.features.serving.push_times import PushTimes
from servers.features.store.definitions import Definitions
from servers.features.store.online_states import OnlineStates
from servers.runtime.auth import Principal

if TYPE_CHECKING:
    from servers.features.serving.pushed_rows import PushedRows

__all__ = ["Pushing"]

_PUSHES = uuid.UUID("6c1f1d0e-5a0e-4d3c-9f0b-0f6f5f7f2a11")
_MOST_DATASETS = 1000


class Pushing:
    """Takes rows. Everything is read, checked and encoded before anything is stored; what goes offline is sent first, since it is kept.

    Args:
        definitions: Know the views.
        states: Say where their vectors are.
        push_times: Of pushes that may be repeated.
        store: Takes vectors.
        ingestion: Takes rows into datasets.
        max_rows: Most rows of a push.
        max_future_s: How far its times may be in the future, in seconds.
        clock: The time.
    """

    def __init__(
        self,
        definitions: Definitions,
        states: OnlineStates,
        push_times: PushTimes,
        store: OnlineStore,
        ingestion: IngestionPeer,
        *,
        max_rows: int = 10_000,
        max_future_s: float = 300.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._definitions = definitions
        self._states = states
        self._push_times = push_times
        self._store = store
        self._ingestion = ingestion
        self._max_rows = max_rows
        self._max_future_s = max_future_s
        self._clock = clock
        self._lock = threading.Lock()
        self._types: OrderedDict[str, Mapping[str, str]] = OrderedDict()

    def push(
        self, project: str, caller: Principal, request: pb.PushFeaturesRequest, check: Callable[[], None] = lambda: None
    ) -> pb.PushFeaturesResponse:
        """Takes the rows of a request.

        Args:
            project: Of the view.
            caller: Whose rows they are.
            request: The rows, and where they go.
            check: Raises where nobody waits any more; called before the first row is stored.

        Raises:
            PushTargetNotPossible, ViewIsOfflineOnly: FAILED_PRECONDITION: the view takes no rows there.
            NotAllowed: PERMISSION_DENIED: the caller may not write into the dataset.
            InvalidPushedRows, TooManyPushedRows, EventTimeInFuture: INVALID_ARGUMENT.
            NotFound: There is no such view or version.
            Unavailable: The online store or ingestion does not answer. Repeating the push does no harm.
        """
        view = self._definitions.view_version(project, request.name, request.version)
        is_online = request.target != pb.PUSH_TARGET_OFFLINE
        is_offline = request.target != pb.PUSH_TARGET_ONLINE
        _check_target(view, caller, is_online=is_online, is_offline=is_offline)
        push_id, now = _push_id(view, caller, request.request_id), self._clock()
        # Rows that do not say when they were written are the same in each repeat.
        may_be_repeated = is_offline and bool(request.request_id)
        seen_time = self._push_times.first_seen(push_id, now) if may_be_repeated else now
        rows = self._read(view, request, seen_time if view.spec.write_time_column else now)
        file = rows.arrow_file(self._types_of(view)) if is_offline else b""
        check()
        answer = pb.PushFeaturesResponse(version=view.version)
        if is_offline:
            answer.ingestion_id = self._ingestion.ingest_file(project, view.dataset, file, FILE_FORMAT_ARROW, push_id)
        if is_online:
            written = self._write(view, rows.online)
            answer.written_rows, answer.kept_newer_rows = written.written, written.kept_newer
            if written.written:
                self._states.count_push(view.id, written.written, rows.newest_event_time)
        return answer

    def _read(self, view: ViewVersion, request: pb.PushFeaturesRequest, now: datetime) -> PushedRows:
        # pyarrow, which takes memory, is for servers that are pushed to.
        from servers.features.serving.pushed_rows import PushLimits, pushed_rows

        return pushed_rows(view, request, PushLimits(self._max_rows, self._max_future_s), now)

    def _types_of(self, view: ViewVersion) -> Mapping[str, str]:
        """Types of the columns of the view's dataset; nothing where pushes make it."""
        if not view.spec.HasField("dataset"):
            return {}
        with self._lock:
            known = self._types.get(view.id)
        if known is None:
            known = dict(self._ingestion.dataset(view.project, view.dataset).columns)
            with self._lock:
                self._types[view.id] = known
                if len(self._types) > _MOST_DATASETS:
                    self._types.popitem(last=False)
        return known

    def _write(self, view: ViewVersion, rows: list[OnlineRow]) -> Written:
        """Writes rows into every generation of the view's vectors that is read or made, also one that is begun meanwhile."""
        done: dict[int, Written] = {}
        while True:
            state = self._states.of([view.id]).get(view.id)
            if state is None:
                # Somebody who makes a view of this name anew must not find them.
                for generation in done:
                    self._store.delete(view.online_name(generation), [row.key for row in rows])
                raise ViewVersionGone(view.id)
            wanted = [each for each in (state.generation, state.building) if each is not None]
            if done.keys() >= set(wanted):
                return done[state.generation]
            for generation in wanted:
                if generation not in done:
                    done[generation] = self._store.write(view.online_name(generation), rows)


def _check_target(view: ViewVersion, caller: Principal, *, is_online: bool, is_offline: bool) -> None:
    if is_offline and view.spec.HasField("computed"):
        raise PushTargetNotPossible(view.view, view.version)
    if is_online and view.spec.offline_only:
        raise ViewIsOfflineOnly(view.view, view.version)
    # The server writes as the mesh itself. A dataset that only pushes make is the view's own; others are not for everybody who may push.
    if is_offline and view.spec.HasField("dataset"):
        advice = ", and the target PUSH_TARGET_ONLINE does without"
        check_right(caller, WRITE_DATA, view.project, f"a push into the dataset {view.dataset!r}", advice)


def _push_id(view: ViewVersion, caller: Principal, request_id: str) -> str:
    """Names the push for ingestion, where all pushes come from one caller."""
    return str(uuid.uuid5(_PUSHES, "\n".join([caller.subject, view.id, request_id.lower()]))) if request_id else str(uuid.uuid4())
