"""The calls that wait for one model, and which of them make the next run. Pure: no clock, no event loop, no model."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol

import numpy as np

from servers.serving.batch_cost import RunCost
from servers.serving.batch_sharing import Sharing
from servers.serving.errors import DeadlineTooShort, ModelOverloaded
from servers.serving.signature import Signature
from servers.serving.tensors import Feeds

Outputs = list["np.ndarray[Any, Any]"]

NO_DEADLINE = float("inf")
"""Deadline of a caller who waits for ever."""

_ESTIMATE_LASTS_S = 1.0
"""After so long without a run, a predicted time is no ground to refuse a call: nothing would ever correct it."""

_CHECKED_RUNS = 3
"""Shared runs that are held against runs of single calls, before sharing is trusted."""

_MIN_RETRY_S = 0.005

_ALONE = None
"""Key of the lane of calls that share no run; see `Sharing.key`."""


class CloseReason(Enum):
    """Why a batch took no further call."""

    TURN_ENDED = "TURN_ENDED"
    """Nobody else was waiting."""
    ROW_CAP = "ROW_CAP"
    """The next call would have made too many rows."""
    BYTE_CAP = "BYTE_CAP"
    """The next call would have made too many bytes."""
    DEADLINE = "DEADLINE"
    """With the next call the run would have taken longer than a caller waits."""
    OTHER_SHAPE = "OTHER_SHAPE"
    """The next call has other extents beyond its rows."""
    OTHER_OUTPUTS = "OTHER_OUTPUTS"
    """The next call wants other outputs."""
    NOT_SHARED = "NOT_SHARED"
    """The call, or its model, does not share runs."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What a run and a queue may hold. A single call may exceed each of them; it then runs alone.

    Args:
        max_rows: Most rows a shared run.
        max_bytes: Most bytes of inputs a shared run.
        max_queued_rows: Most rows that wait for one model.
        max_queued_calls: Most calls that wait for one model.
    """

    max_rows: int
    max_bytes: int
    max_queued_rows: int
    max_queued_calls: int


class Ticket(Protocol):
    """Where the answer to a call goes; an `asyncio.Future` is one."""

    def __await__(self) -> Generator[Any, None, Outputs]:
        """Waits for the answer."""

    def done(self) -> bool:
        """Whether nobody waits for the answer any more."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Has somebody told once that is so."""

    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int:
        """Has them told no more."""

    def set_result(self, result: Outputs, /) -> None:
        """Answers."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Fails."""


class WaitingCall:
    """A prepared call.

    Args:
        feeds: Its inputs, checked against the signature.
        outputs: Positions of the outputs wanted.
        rows: Its rows.
        deadline: When its caller stops waiting, on the batcher's clock; `NO_DEADLINE` where it never does.
        submitted_at: When it came, on the same clock.
        ticket: Where the answer goes.
    """

    __slots__ = ("batch_rows", "deadline", "feeds", "outputs", "rows", "started_at", "submitted_at", "ticket")

    def __init__(self, feeds: Feeds, outputs: tuple[int, ...], rows: int, deadline: float, submitted_at: float, ticket: Ticket) -> None:
        self.feeds = feeds
        self.outputs = outputs
        self.rows = rows
        self.deadline = deadline
        self.submitted_at = submitted_at
        self.ticket = ticket
        self.batch_rows = rows
        """Rows of the run that answered it."""
        self.started_at = submitted_at
        """When that run began."""

    def size_bytes(self) -> int:
        """Bytes of its inputs; of strings the pointers only."""
        return sum(array.nbytes for array in self.feeds.values())


class Batch(NamedTuple):
    """Calls that make one run.

    Args:
        calls: One or more, in the order in which they came.
        rows: Their rows together.
        reason: Why there are no more.
    """

    calls: tuple[WaitingCall, ...]
    rows: int
    reason: CloseReason


class QueueObserver(Protocol):
    """Counts what happens to the calls of a model."""

    def ran(self, batch: Batch, started_at: float, run_s: float, *, is_answer: bool) -> None:
        """A run ended. `is_answer` is False where its calls run again, each alone."""

    def refused(self) -> None:
        """A call was refused, before or after it waited."""

    def abandoned(self) -> None:
        """A caller left before the run, or all of them during it."""


class ModelQueue:
    """The calls that wait for one loaded model.

    Calls that fit together wait in one lane, first come, first served, and lanes take turns. One lane is for calls that share no run; each
    of its turns is one call.

    Args:
        name: The model as errors name it.
        signature: What the model takes and gives.
        sharing: How its calls share runs.
        run: Runs the model.
        limits: Caps.
        observer: Counts.
    """

    def __init__(
        self,
        name: str,
        signature: Signature,
        sharing: Sharing,
        run: Callable[[Feeds, tuple[int, ...]], Outputs],
        limits: BatchLimits,
        observer: QueueObserver,
    ) -> None:
        self.name = name
        self.signature = signature
        self.sharing = sharing
        self.run = run
        self.limits = limits
        self.observer = observer
        self.elsewhere: Callable[[WaitingCall], None] | None = None
        """Takes the calls of a model that does not run in this process."""
        self.cost = RunCost()
        self.runs_to_check = _CHECKED_RUNS
        """Shared runs that are still to be checked."""
        self.ran_at = -NO_DEADLINE
        """When its last run ended."""
        # What the scheduler keeps of each queue.
        self.used_s = 0.0
        self.last_turn = 0
        self.waiting_since = 0
        self._lanes: OrderedDict[object, deque[WaitingCall]] = OrderedDict()
        self._calls = 0
        self._rows = 0

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return self._calls == 0

    @property
    def calls(self) -> int:
        """Calls that wait."""
        return self._calls

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return self._rows

    def backlog_s(self, more_rows: int = 0) -> float:
        """Predicted time of the runs for everyone who waits, and so many rows more, in seconds."""
        rows = self._rows + more_rows
        runs = len(self._lanes.get(_ALONE, ())) + len(self._lanes) + rows // self.limits.max_rows
        return self.cost.predict(rows) + max(0, runs - 1) * self.cost.predict(0)

    def admit(self, call: WaitingCall, now: float, others_s: float = 0.0) -> None:
        """Puts a call at its place, or refuses it.

        Args:
            call: The call.
            now: The time now.
            others_s: Predicted time for which other models keep this one waiting.

        Raises:
            ModelOverloaded: If too many wait already, or those who wait take longer than the caller has.
            DeadlineTooShort: If the run alone takes longer than the caller has.
        """
        limits, rows = self.limits, call.rows
        if self._calls:
            if self._calls >= limits.max_queued_calls:
                self._refuse_depth(f"{self._calls} calls", f"{limits.max_queued_calls} calls", "max_queued_calls")
            if self._rows + rows > limits.max_queued_rows:
                self._refuse_depth(f"{self._rows} rows", f"{limits.max_queued_rows} rows", "max_queued_rows")
        if call.deadline != NO_DEADLINE:
            wait_s = self.backlog_s(rows) + others_s
            if now + wait_s > call.deadline:
                self._refuse_late(call, now, wait_s)
        key = self.sharing.key(call.feeds, call.outputs, rows)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = deque()
        lane.append(call)
        self._calls += 1
        self._rows += rows

    def take(self, now: float) -> Batch | None:
        """Takes the calls of the next run out of the queue.

        Those whose callers have left are dropped on the way, and those whose time does not suffice any more are refused.

        Returns:
            The batch; None where nobody is left.
        """
        if self._calls == 1:
            return self._lone(now)
        while self._lanes:
            key, lane = next(iter(self._lanes.items()))
            batch = self._of_lane(key, lane, now)
            if lane:
                self._lanes.move_to_end(key)
            else:
                del self._lanes[key]
            if batch is not None:
                return batch
        return None

    def send_back(self, batch: Batch) -> None:
        """Lets each call of a batch run alone."""
        is_new = _ALONE not in self._lanes
        self._lanes.setdefault(_ALONE, deque()).extend(batch.calls)
        if is_new:
            self._lanes.move_to_end(_ALONE, last=False)
        self._calls += len(batch.calls)
        self._rows += batch.rows

    def withdraw_sharing(self, reason: str) -> None:
        """Lets every call run alone from now on."""
        self.sharing = Sharing(reason)
        waiting = list(self.waiting())
        self._lanes.clear()
        if waiting:
            self._lanes[_ALONE] = deque(waiting)

    def waiting(self) -> Iterator[WaitingCall]:
        """Everyone who waits."""
        for lane in self._lanes.values():
            yield from lane

    def _lone(self, now: float) -> Batch | None:
        """Takes the only call there is; the usual case where load is low, so it is made short."""
        key, (call,) = self._lanes.popitem()
        self._calls = self._rows = 0
        if not self._is_due(call, now):
            return None
        return Batch((call,), call.rows, CloseReason.NOT_SHARED if key is _ALONE else CloseReason.TURN_ENDED)

    def _of_lane(self, key: object, lane: deque[WaitingCall], now: float) -> Batch | None:
        first = self._first_due(lane, now)
        if first is None:
            return None
        if key is _ALONE:
            return Batch((first,), first.rows, CloseReason.NOT_SHARED)
        if not lane:
            return Batch((first,), first.rows, self._reason_to_stop(key))
        limits, predict = self.limits, self.cost.predict
        calls, rows, deadline, size_bytes = [first], first.rows, first.deadline, first.size_bytes()
        reason = None
        while lane:
            call = lane[0]
            if call.ticket.done():
                self._drawn(lane)
                self.observer.abandoned()
                continue
            more_rows, more_bytes, earliest = rows + call.rows, size_bytes + call.size_bytes(), min(deadline, call.deadline)
            if more_rows > limits.max_rows:
                reason = CloseReason.ROW_CAP
            elif more_bytes > limits.max_bytes:
                reason = CloseReason.BYTE_CAP
            elif now + predict(more_rows) > earliest:
                reason = CloseReason.DEADLINE
            if reason is not None:
                break
            calls.append(self._drawn(lane))
            rows, size_bytes, deadline = more_rows, more_bytes, earliest
        return Batch(tuple(calls), rows, reason or self._reason_to_stop(key))

    def _reason_to_stop(self, key: Any) -> CloseReason:
        """Why a batch that took its whole lane has no more: because of those in other lanes, or because there are none."""
        if len(self._lanes) == 1:
            return CloseReason.TURN_ENDED
        other: Any = next((other for other in self._lanes if other is not _ALONE and other != key), None)
        if other is None:
            return CloseReason.TURN_ENDED
        return CloseReason.OTHER_OUTPUTS if other[0] != key[0] else CloseReason.OTHER_SHAPE

    def _first_due(self, lane: deque[WaitingCall], now: float) -> WaitingCall | None:
        while lane:
            call = self._drawn(lane)
            if self._is_due(call, now):
                return call
        return None

    def _is_due(self, call: WaitingCall, now: float) -> bool:
        if call.ticket.done():
            self.observer.abandoned()
            return False
        if call.deadline == NO_DEADLINE:
            return True
        run_s = self.cost.predict(call.rows)
        if now + run_s <= call.deadline or (now < call.deadline and self._is_outdated(now)):
            return True
        self.observer.refused()
        call.ticket.set_exception(self._too_late(call, now, run_s))
        return False

    def _drawn(self, line: deque[WaitingCall]) -> WaitingCall:
        call = line.popleft()
        self._calls -= 1
        self._rows -= call.rows
        return call

    def _is_outdated(self, now: float) -> bool:
        return now - self.ran_at > _ESTIMATE_LASTS_S

    def _refuse_depth(self, waiting: str, allowed: str, setting: str) -> None:
        self.observer.refused()
        raise ModelOverloaded(
            f"{waiting} wait for {self.name}, and at most {allowed} may (setting {setting}); "
            "try again later, or send fewer at the same time",
            retry_after_s=max(_MIN_RETRY_S, self.backlog_s()),
        )

    def _refuse_late(self, call: WaitingCall, now: float, wait_s: float) -> None:
        """Refuses a call that would not be answered in time, unless that is only an old guess about an idle model."""
        run_s = self.cost.predict(call.rows)
        left_s = call.deadline - now
        if run_s > left_s:
            if self._calls == 0 and left_s > 0 and self._is_outdated(now):
                return
            self.observer.refused()
            raise self._too_late(call, now, run_s)
        self.observer.refused()
        raise ModelOverloaded(
            f"the calls before this one keep {self.name} busy for {wait_s * 1000:.1f} ms, and the caller waits "
            f"{left_s * 1000:.1f} ms; try again later, or allow more time",
            retry_after_s=max(_MIN_RETRY_S, wait_s),
        )

    def _too_late(self, call: WaitingCall, now: float, run_s: float) -> DeadlineTooShort:
        left_s = max(0.0, call.deadline - now)
        return DeadlineTooShort(
            f"{self.name} takes about {run_s * 1000:.1f} ms for {call.rows} rows, and {left_s * 1000:.1f} ms are left of the call's time; "
            "allow more time, or send fewer rows",
            retry_after_s=max(_MIN_RETRY_S, self.backlog_s()),
        )
