from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from servers.runtime.errors import DomainError
from servers.serving.batch_queue import Batch, CloseReason, ModelQueue, WaitingCall
from servers.serving.batching import Batcher, BatchScheduler
from servers.serving.errors import DeadlineTooShort, ModelOverloaded, ModelRunRefused
from tests.unit.serving.batches import POISON, FakeModel, Observer, Ticket, call_of, queue_of
from tests.unit.serving.conftest import Clock


@pytest.fixture
def scheduler(clock):
    return BatchScheduler(clock)


@pytest.fixture
def model(clock):
    return FakeModel(clock)


@pytest.fixture
def observer():
    return Observer()


@pytest.fixture
def queue(model, observer):
    queue = queue_of(model, observer)
    queue.runs_to_check = 0
    return queue


def submit_all(scheduler: BatchScheduler, queue: ModelQueue, calls: list[WaitingCall]) -> list[WaitingCall]:
    for call in calls:
        scheduler.submit(queue, call)
    return calls


def test_what_waits_becomes_one_run_and_each_call_gets_its_rows(scheduler, queue, model, observer, clock):
    calls = submit_all(scheduler, queue, [call_of(clock, rows=rows, value=rows, outputs=(1, 0)) for rows in (1, 3, 2)])

    assert not scheduler.run_for(1)

    assert [run.shape for run in model.runs] == [(6, 2)]
    assert [[array.tolist() for array in call.ticket.result] for call in calls] == [
        [[[2 * rows] * 2] * rows, [[rows] * 2] * rows] for rows in (1, 3, 2)
    ]
    assert observer.reasons == [CloseReason.TURN_ENDED]
    assert [call.batch_rows for call in calls] == [6, 6, 6]


def test_a_lone_call_is_run_as_it_is(scheduler, queue, model, clock):
    (call,) = submit_all(scheduler, queue, [call_of(clock)])

    scheduler.run_for(1)

    assert model.runs[0] is call.feeds["x"]
    assert call.ticket.result[0] is model.runs[0]


def test_batches_close_at_their_caps_and_say_so(scheduler, queue, observer, clock):
    submit_all(scheduler, queue, [call_of(clock, rows=rows) for rows in (10, 6, 1)])
    scheduler.run_for(1)
    submit_all(scheduler, queue, [call_of(clock, rows=1, width=4000) for _ in range(4)])
    scheduler.run_for(1)

    assert [(batch.rows, batch.reason) for batch in observer.batches] == [
        (16, CloseReason.ROW_CAP),
        (1, CloseReason.TURN_ENDED),
        (3, CloseReason.BYTE_CAP),
        (1, CloseReason.TURN_ENDED),
    ]


def test_calls_that_do_not_fit_together_run_apart_and_lanes_take_turns(scheduler, queue, observer, clock):
    shapes = [(2, (0,)), (3, (0,)), (2, (1,)), (2, (0,))]
    calls = submit_all(scheduler, queue, [call_of(clock, width=width, outputs=outputs) for width, outputs in shapes])

    scheduler.run_for(1)

    assert [len(batch.calls) for batch in observer.batches] == [2, 1, 1]
    assert observer.reasons == [CloseReason.OTHER_SHAPE, CloseReason.OTHER_OUTPUTS, CloseReason.TURN_ENDED]
    assert all(call.ticket.result is not None for call in calls)


def test_a_lane_that_is_never_empty_does_not_keep_others_waiting(scheduler, queue, observer, clock):
    widths = [2, 2, 2, 3]
    submit_all(scheduler, queue, [call_of(clock, rows=16, width=width) for width in widths])

    scheduler.run_for(1)

    assert [batch.calls[0].feeds["x"].shape[1] for batch in observer.batches] == [2, 3, 2, 2]


def test_one_bad_input_fails_alone(scheduler, queue, observer, clock):
    calls = submit_all(scheduler, queue, [call_of(clock, value=value) for value in (1, POISON, 3)])

    scheduler.run_for(1)

    assert [type(call.ticket.error) for call in calls] == [type(None), ModelRunRefused, type(None)]
    assert [call.ticket.result[0][0, 0] for call in (calls[0], calls[2])] == [1, 3]
    assert [len(batch.calls) for batch in observer.batches] == [3, 1, 1, 1]


def test_a_batch_takes_no_call_that_would_make_an_earlier_one_late(scheduler, queue, observer, clock):
    for rows in (1, 16, 4, 8):
        submit_all(scheduler, queue, [call_of(clock, rows=rows)])
        scheduler.run_for(1)
    observer.batches.clear()

    calls = submit_all(scheduler, queue, [call_of(clock, rows=4, wait_s=0.0016), call_of(clock, rows=8, wait_s=1)])
    scheduler.run_for(1)

    assert observer.reasons == [CloseReason.DEADLINE, CloseReason.TURN_ENDED]
    assert all(call.ticket.result is not None for call in calls)


def test_a_call_that_cannot_be_answered_in_time_is_refused_before_it_is_queued(scheduler, queue, observer, clock):
    submit_all(scheduler, queue, [call_of(clock, rows=1)])
    scheduler.run_for(1)

    with pytest.raises(DeadlineTooShort, match=r"`m` takes about 11\.0 ms for 10 rows, and 5\.0 ms are left") as raised:
        scheduler.submit(queue, call_of(clock, rows=10, wait_s=0.005))

    assert raised.value.retry_after_s is not None
    assert scheduler.is_idle
    assert observer.refusals == 1


def test_a_call_is_refused_where_those_before_it_take_too_long(scheduler, queue, clock):
    submit_all(scheduler, queue, [call_of(clock, rows=1)])
    scheduler.run_for(1)
    submit_all(scheduler, queue, [call_of(clock, rows=9) for _ in range(3)])

    with pytest.raises(ModelOverloaded, match="the calls before this one keep `m` busy") as raised:
        scheduler.submit(queue, call_of(clock, rows=1, wait_s=0.01))

    assert raised.value.retry_after_s == pytest.approx(queue.backlog_s(1))


def test_a_call_whose_turn_comes_too_late_is_refused_without_a_run(scheduler, queue, model, observer, clock):
    submit_all(scheduler, queue, [call_of(clock, rows=1)])
    scheduler.run_for(1)
    (call,) = submit_all(scheduler, queue, [call_of(clock, wait_s=0.1)])
    clock.seconds += 0.2

    scheduler.run_for(1)

    assert isinstance(call.ticket.error, DeadlineTooShort)
    assert (len(model.runs), observer.refusals) == (1, 1)


def test_an_old_estimate_does_not_refuse_for_ever(scheduler, queue, model, clock):
    model.base_s = 1.0
    submit_all(scheduler, queue, [call_of(clock)])
    scheduler.run_for(1)
    model.base_s = 0.001
    with pytest.raises(DeadlineTooShort):
        scheduler.submit(queue, call_of(clock, wait_s=0.1))
    clock.seconds += 1.1

    (call,) = submit_all(scheduler, queue, [call_of(clock, wait_s=0.1)])
    scheduler.run_for(1)

    assert call.ticket.result is not None


@pytest.mark.parametrize(
    ("limits", "rows", "said"), [({"max_queued_calls": 3}, 1, "3 calls wait for `m`"), ({"max_queued_rows": 10}, 4, "8 rows")]
)
def test_no_more_wait_than_allowed(scheduler, model, clock, limits, rows, said):
    queue = queue_of(model, **limits)
    submit_all(scheduler, queue, [call_of(clock)])
    scheduler.run_for(1)

    with pytest.raises(ModelOverloaded, match=said) as raised:
        submit_all(scheduler, queue, [call_of(clock, rows=rows) for _ in range(4)])

    assert raised.value.retry_after_s >= 0.005


def test_a_call_with_more_rows_than_all_caps_runs_where_nobody_else_waits(scheduler, queue, model, clock):
    submit_all(scheduler, queue, [call_of(clock, rows=1000)])

    scheduler.run_for(1)

    assert [len(run) for run in model.runs] == [1000]


def test_callers_who_left_are_not_run(scheduler, queue, model, observer, clock):
    calls = submit_all(scheduler, queue, [call_of(clock, value=value) for value in range(4)])
    for index in (0, 2):
        calls[index].ticket.is_cancelled = True

    scheduler.run_for(1)

    assert model.runs[0][:, 0].tolist() == [1, 3]
    assert observer.departures == 2


def test_nothing_runs_where_everybody_left(scheduler, queue, model, clock):
    (call,) = submit_all(scheduler, queue, [call_of(clock)])
    call.ticket.is_cancelled = True

    assert not scheduler.run_for(1)

    assert model.runs == []
    assert scheduler.is_idle


def test_batches_run_until_the_slice_is_over_and_say_whether_somebody_waits(scheduler, queue, model, clock):
    submit_all(scheduler, queue, [call_of(clock, width=width) for width in range(1, 6)])

    assert scheduler.run_for(0.002)
    assert len(model.runs) == 2
    assert scheduler.run_for(0)
    assert len(model.runs) == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda x: x - x.mean(axis=0), "output `same` of a row depends on the other rows of the run"),
        (lambda x: x[:1], r"output `same` has shape [1, 2] for 3 rows"),
    ],
    ids=["mean", "one row"],
)
def test_a_model_whose_rows_are_not_independent_is_found_out_before_anybody_gets_a_wrong_answer(scheduler, clock, observer, change, reason):
    queue = queue_of(FakeModel(clock, change=change), observer)
    calls = submit_all(scheduler, queue, [call_of(clock, value=value) for value in (1, 2, 6)])

    scheduler.run_for(1)
    scheduler.run_for(1)

    assert [call.ticket.result[0].tolist() for call in calls] == [change(call.feeds["x"]).tolist() for call in calls]
    assert queue.sharing.refusal == reason
    assert observer.reasons[1:] == [CloseReason.NOT_SHARED] * 3


def test_sharing_is_trusted_after_a_few_checks(scheduler, clock, model):
    queue = queue_of(model)
    for _ in range(5):
        submit_all(scheduler, queue, [call_of(clock), call_of(clock)])
        scheduler.run_for(1)

    assert [len(run) for run in model.runs] == [2, 1, 1] * 3 + [2, 2]


def test_a_model_that_has_used_less_time_goes_first_and_none_goes_twice_while_another_waits(scheduler, clock):
    ran: list[str] = []

    def named(name: str, base_s: float) -> ModelQueue:
        model = FakeModel(clock, base_s)

        def run(feeds: Any, outputs: Any) -> Any:
            ran.append(name)
            return model(feeds, outputs)

        return queue_of(run, max_rows=1)

    slow, quick = named("slow", 1.0), named("quick", 0.001)
    for _ in range(2):
        for queue in (slow, quick):
            submit_all(scheduler, queue, [call_of(clock) for _ in range(2)])
        scheduler.run_for(100)

    assert ran[:4] == ["slow", "quick", "slow", "quick"]
    assert ran[4:] == ["quick", "slow", "quick", "slow"]


class Scheduling(RuleBasedStateMachine):
    """Any order of calls, departures and turns keeps the promises of the scheduler."""

    accepted = Bundle("accepted")

    @initialize()
    def start(self) -> None:
        self.clock = Clock(1000.0)
        self.scheduler = BatchScheduler(self.clock)
        self.calls: list[tuple[int, WaitingCall, float]] = []
        self.began: dict[WaitingCall, int] = {}
        self.waits_behind: dict[int, Counter[int]] = {}
        self.queues = [self.queue(index) for index in range(3)]
        self.stamp = 0.0
        self.refusals: list[DomainError] = []

    def queue(self, index: int) -> ModelQueue:
        model = FakeModel(self.clock, base_s=(0.001, 0.02, 0.3)[index], slope_s=0.0005)
        return queue_of(model, Recorder(self, index), max_rows=6, max_bytes=80, max_queued_calls=8, max_queued_rows=30)

    @rule(
        target=accepted,
        model=st.integers(0, 2),
        rows=st.integers(0, 9),
        width=st.integers(1, 2),
        outputs=st.sampled_from([(0,), (1,), (0, 1)]),
        wait_s=st.none() | st.sampled_from([0.0, 0.002, 0.05, 1.0, 10.0]),
        is_poison=st.integers(0, 9).map(lambda number: number == 0),
    )
    def submit(self, model: int, rows: int, width: int, outputs: tuple[int, ...], wait_s: float | None, is_poison: bool) -> Any:
        self.stamp += 1
        value = POISON if is_poison else self.stamp
        call = call_of(self.clock, rows, width, outputs, value, wait_s)
        queue = self.queues[model]
        before = queue.calls, queue.rows
        is_new = queue.is_empty
        try:
            self.scheduler.submit(queue, call)
        except (ModelOverloaded, DeadlineTooShort) as refusal:
            self.refusals.append(refusal)
            assert (queue.calls, queue.rows) == before, "a refused call leaves no trace"
            assert not call.ticket.done()
            return multiple()
        assert queue.calls == 1 or (queue.calls <= 8 and queue.rows <= 30)
        self.calls.append((model, call, value))
        if is_new:
            self.waits_behind[model] = Counter()
        return call

    @rule(call=consumes(accepted))
    def leave(self, call: WaitingCall) -> None:
        if not call.ticket.done():
            call.ticket.is_cancelled = True  # type: ignore[attr-defined]

    @rule(seconds=st.sampled_from([0.001, 0.05, 2.0]))
    def wait(self, seconds: float) -> None:
        self.clock.seconds += seconds

    @rule()
    def run_next(self) -> None:
        self.scheduler.run_next()

    @rule(slice_s=st.sampled_from([0.0, 0.01, 0.5]))
    def run_for(self, slice_s: float) -> None:
        assert self.scheduler.run_for(slice_s) is not self.scheduler.is_idle

    def ran(self, model: int, batch: Batch, started: float, is_answer: bool) -> None:
        queue = self.queues[model]
        assert batch.rows == sum(call.rows for call in batch.calls)
        for call in batch.calls:
            assert not call.ticket.done(), "nobody is run after an answer, or after leaving"
            assert self.began.get(call, 0) < 2, "a call runs in company once, and alone once"
            self.began[call] = self.began.get(call, 0) + 1
            assert call.deadline >= started
        if len(batch.calls) > 1:
            assert batch.rows <= 6
            assert sum(call.size_bytes() for call in batch.calls) <= 80
            assert len({(call.outputs, call.feeds["x"].shape[1:]) for call in batch.calls}) == 1
            stamps = [next(index for index, known in enumerate(self.calls) if known[1] is call) for call in batch.calls]
            assert stamps == sorted(stamps), "first come, first served"
            assert all(
                index > stamps[-1] or other.ticket.done() or (other.outputs, other.feeds["x"].shape[1:]) != self.fit(batch)
                for index, (of, other, _) in enumerate(self.calls)
                if of == model and other not in batch.calls and self.began.get(other, 0) == 0
            ), "nobody who fits is passed over"
        assert queue.calls >= 0
        self.waits_behind[model] = Counter()
        for other, behind in self.waits_behind.items():
            if other != model and not self.queues[other].is_empty:
                behind[model] += 1
                assert behind[model] <= 1, "a model waits for at most one run of each other model"

    @invariant()
    def every_refusal_says_when_to_come_back(self) -> None:
        assert all(refusal.retry_after_s for refusal in self.refusals)

    @staticmethod
    def fit(batch: Batch) -> Any:
        return batch.calls[0].outputs, batch.calls[0].feeds["x"].shape[1:]

    @invariant()
    def every_accepted_call_waits_or_has_its_own_answer(self) -> None:
        waiting = [call for queue in self.queues for call in queue.waiting()]
        assert len(waiting) == len(set(waiting)), "nobody waits twice"
        for queue in self.queues:
            assert queue.calls == len(list(queue.waiting()))
            assert queue.rows == sum(call.rows for call in queue.waiting())
        for _, call, value in self.calls:
            ticket = call.ticket
            assert isinstance(ticket, Ticket)
            assert ticket.done() or call in waiting, "nobody is lost"
            if ticket.result is not None:
                expected = [[call.feeds["x"], 2 * call.feeds["x"]][index] for index in call.outputs]
                assert [array.tolist() for array in ticket.result] == [array.tolist() for array in expected]
                assert value != POISON or call.rows == 0
            if isinstance(ticket.error, ModelRunRefused):
                assert value == POISON

    def teardown(self) -> None:
        if hasattr(self, "scheduler"):
            for _ in range(1000):
                if self.scheduler.is_idle:
                    break
                self.scheduler.run_next()
            assert all(call.ticket.done() for _, call, _ in self.calls), "everybody gets an answer in the end"


@dataclass
class Recorder:
    """Hands what a queue tells to the machine."""

    machine: Scheduling
    model: int

    def ran(self, batch: Batch, started_at: float, run_s: float, *, is_answer: bool) -> None:
        self.machine.ran(self.model, batch, started_at, is_answer)

    def refused(self) -> None:
        pass

    def abandoned(self) -> None:
        pass


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_calls_of_one_turn_of_the_loop_share_a_run_and_the_loop_turns_between_slices(clock):
    model = FakeModel(clock)
    queue = queue_of(model, max_rows=2)
    queue.runs_to_check = 0
    turns: list[int] = []

    async def call(batcher: Batcher, value: float) -> Any:
        return (await batcher.submit(queue, {"x": np.full((1, 2), value)}, (0,), 1, None).ticket)[0][0, 0]

    async def main() -> list[Any]:
        batcher = Batcher(0.0, clock)
        calls = asyncio.gather(*(call(batcher, value) for value in range(5)))
        while not calls.done():
            turns.append(len(model.runs))
            await asyncio.sleep(0)
        return await calls

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]
    assert [len(run) for run in model.runs] == [2, 2, 1]
    assert {1, 2, 3} <= set(turns), "other work of the loop has its turn after each slice"


def test_a_caller_who_gives_up_is_not_run(clock):
    model = FakeModel(clock)
    queue = queue_of(model)

    async def main() -> None:
        batcher = Batcher(1.0, clock)
        tickets = [batcher.submit(queue, {"x": np.full((1, 2), value)}, (0,), 1, None).ticket for value in (1.0, 2.0)]
        tickets[0].cancel()  # type: ignore[attr-defined]
        await tickets[1]  # type: ignore[misc]

    asyncio.run(main())
    assert [run.tolist() for run in model.runs] == [[[2.0, 2.0]]]
