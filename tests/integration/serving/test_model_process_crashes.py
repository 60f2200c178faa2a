"""Processes of models that crash, hang and lie."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from servers.serving.errors import ModelLoadFailed, PredictionTooLarge, RegistryUnavailable
from servers.serving.model_process.errors import ModelCrashed, ModelNotRunning, ModelRunAborted
from servers.serving.model_process.memory_kills import MemoryKills
from servers.serving.model_process.model_process import Phase
from tests.integration.serving.model_processes import LOOPS, Scripted, lying_at, soon, until

X = {"x": np.array([1, 2], "<f4")}
POISON = {"x": np.array([666], "<f4")}

pytestmark = pytest.mark.parametrize("run", LOOPS, ids=["uvloop", "asyncio"])


@pytest.fixture
def scripted(tmp_path):
    return lambda *behaviours: Scripted(tmp_path, behaviours)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("aborts-at-load", "the model's process was killed by SIGABRT, an abort while it was loaded"),
        ("exits-at-load", "the model's process ended with exit status 3 while it was loaded"),
        ("garbage-at-load", "the model's process was stopped because it sent what the protocol does not have"),
        ("refuses-load-by-another-name", "the model's process was stopped because it sent what the protocol does not have"),
        ("closes-at-load", "the model's process was stopped because it closed its connection and ran on"),
    ],
)
def test_a_model_that_crashes_at_load_is_told_why_and_not_tried_again(run, scripted, behaviour, expected):
    script = scripted(behaviour)

    async def scenario() -> None:
        process = script.process()

        with pytest.raises(ModelCrashed, match=expected):
            await soon(process.start())

        assert process.phase is Phase.ENDED
        assert script.none_is_left()
        with pytest.raises(ModelCrashed, match=expected):
            await process.run(X)
        await soon(process.close())

    run(scenario())

    assert len(script.pids) == 1
    assert script.ended == [], "whoever started it has been told"


def test_what_a_crashed_process_wrote_goes_to_the_log_and_not_to_callers(run, scripted, caplog):
    async def scenario() -> None:
        with pytest.raises(ModelCrashed) as raised:
            await soon(scripted("aborts-at-load").process().start())
        assert "a line for the log" not in raised.value.message

    with caplog.at_level(logging.ERROR):
        run(scenario())

    assert "a line for the log" in caplog.text


def test_a_model_that_is_refused_leaves_no_process(run, scripted):
    script = scripted("refuses-load")

    async def scenario() -> None:
        with pytest.raises(ModelLoadFailed, match="it is not to my taste"):
            await soon(script.process().start())
        assert script.none_is_left()

    run(scenario())


def test_a_load_that_takes_too_long_is_killed(run, scripted):
    script = scripted("hangs-at-load")

    async def scenario() -> None:
        with pytest.raises(ModelCrashed, match=r"was stopped because the model was not loaded within 0\.5 s$"):
            await soon(script.process(load_timeout_s=0.5).start())
        await until(lambda: not script.pids or script.none_is_left())

    run(scenario())


def test_a_program_that_does_not_exist_is_an_end_and_no_hang(run, scripted):
    async def scenario() -> None:
        process = scripted("").process()
        process._command = ("/no/such/program",)
        with pytest.raises(ModelCrashed, match="ended with exit status 1 while it was loaded"):
            await soon(process.start())

    run(scenario())


def test_a_process_that_does_not_want_to_end_is_killed(run, scripted):
    script = scripted("ignores-sigterm")

    async def scenario() -> None:
        process = script.process(stop_grace_s=0.1)
        await soon(process.start())

        await soon(process.close())

        assert script.none_is_left()

    run(scenario())


def test_a_model_can_be_closed_while_it_is_loaded(run, scripted):
    script = scripted("hangs-at-load")

    async def scenario() -> None:
        process = script.process()
        starting = asyncio.create_task(process.start())
        await until(lambda: len(script.pids) == 1)

        await soon(process.close())

        assert script.none_is_left()
        with pytest.raises(ModelNotRunning, match="is being unloaded"):
            await soon(starting)

    run(scenario())


def test_a_start_that_is_cancelled_leaves_no_process(run, scripted):
    script = scripted("hangs-at-load")

    async def scenario() -> None:
        process = script.process()
        starting = asyncio.create_task(process.start())
        await until(lambda: len(script.pids) == 1)

        starting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await soon(starting)
        assert script.none_is_left()

    run(scenario())


@pytest.mark.parametrize("turns", range(12))
def test_a_start_may_be_cancelled_in_any_turn_of_the_loop(run, scripted, turns):
    # One that served might be ready before the last turn, where the turns take long.
    script = scripted("hangs-at-load")

    async def scenario() -> None:
        process = script.process()
        starting = asyncio.create_task(process.start())
        for _ in range(turns):
            await asyncio.sleep(0)

        starting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await soon(starting)
        assert process.pid is None

    run(scenario())


@pytest.mark.parametrize(
    "behaviour", ["garbage-at-run", "another-call-at-run", "another-output-at-run", "refuses-run-by-another-name", "answers-unasked"]
)
def test_a_process_that_lies_is_replaced(run, scripted, behaviour):
    script = scripted(behaviour, "serves")

    async def scenario() -> None:
        process = script.process()
        await soon(process.start())

        with contextlib.suppress(ModelRunAborted):
            await soon(process.run(X))
        await until(lambda: process.phase is Phase.READY and process.restarts == 1)
        answer = await soon(process.run(X))

        assert answer[0].tolist() == [1, 2]
        assert "it sent what the protocol does not have" in str(process.last_exit)
        await soon(process.close())

    run(scenario())


def test_runs_that_a_crash_took_are_run_again(run, scripted):
    script = scripted("dies-at-run", "dies-at-run", "serves")

    async def scenario() -> None:
        process = script.process()
        await soon(process.start())

        answers = await soon(asyncio.gather(*(process.run({"x": np.array([number], "<f4")}) for number in range(20))))

        assert [answer[0].tolist() for answer in answers] == [[number] for number in range(20)]
        assert process.restarts == 2
        await soon(process.close())

    run(scenario())
    assert script.pauses == [0.5], "the first restart is immediate"


def test_inputs_that_the_process_dies_of_are_refused_in_the_end_and_take_nobody_with_them(run, scripted):
    script = scripted("dies-of-poison")

    async def scenario() -> None:
        process = script.process(run_attempts=2)
        await soon(process.start())

        poisoned, *others = await soon(asyncio.gather(process.run(POISON), *(process.run(X) for _ in range(5)), return_exceptions=True))

        assert isinstance(poisoned, ModelRunAborted)
        assert "does not survive a run on these inputs: its process was killed by SIGSEGV" in poisoned.message
        assert [answer[0].tolist() for answer in others] == [[1, 2]] * 5
        assert process.restarts == 2
        await soon(process.close())

    run(scenario())
    assert script.ended == []


def test_a_run_of_several_callers_is_not_tried_again_by_itself(run, scripted):
    script = scripted("dies-of-poison")

    async def scenario() -> None:
        process = script.process()
        await soon(process.start())

        with pytest.raises(ModelRunAborted):
            await soon(process.run(POISON, is_shared=True))

        assert (await soon(process.run(X)))[0].tolist() == [1, 2]
        assert process.restarts == 1
        await soon(process.close())

    run(scenario())


def test_a_run_that_takes_too_long_is_stopped_and_not_tried_again(run, scripted):
    script = scripted("hangs-on-poison")

    async def scenario() -> None:
        process = script.process(run_timeout_s=4)  # the next run has to be answered within it, be the machine busy
        await soon(process.start())

        hung, other = await soon(asyncio.gather(process.run(POISON), process.run(X), return_exceptions=True))

        assert isinstance(hung, ModelRunAborted)
        assert "was stopped because a run took longer than 4 s" in hung.message
        assert other[0].tolist() == [1, 2]
        assert process.restarts == 1
        await soon(process.close())

    run(scenario())


def test_a_model_that_keeps_crashing_is_given_up_with_the_last_reason(run, scripted):
    script = scripted("dies-at-run")

    async def scenario() -> None:
        process = script.process(max_crashes=4, run_attempts=3)
        await soon(process.start())

        aborted, given_up = await soon(asyncio.gather(process.run(X), process.run(X), return_exceptions=True))

        assert isinstance(aborted, ModelRunAborted)
        assert isinstance(given_up, ModelCrashed)
        assert given_up.message == "the model crashed or failed 4 times, lastly because the model's process was killed by SIGKILL"
        with pytest.raises(ModelCrashed, match="crashed or failed 4 times"):
            await process.run(X)
        assert script.none_is_left()
        await soon(process.close())

    run(scenario())
    assert [error.message for error in script.ended] == [
        "the model crashed or failed 4 times, lastly because the model's process was killed by SIGKILL"
    ]
    assert script.pauses == [0.5, 1.0]
    assert len(script.pids) == 4


def test_a_model_that_crashes_whenever_it_is_loaded_again_is_given_up(run, scripted):
    script = scripted("dies-at-run", "aborts-at-load")

    async def scenario() -> None:
        process = script.process()
        await soon(process.start())

        with pytest.raises(
            ModelCrashed, match="5 times, lastly because the model's process was killed by SIGABRT, an abort while it was loaded"
        ):
            await soon(process.run(X))

    run(scenario())
    assert len(script.pids) == 5


def test_calls_do_not_wait_for_ever_for_a_process_that_takes_long_to_be_back(run, scripted):
    script = scripted("dies-at-run", "waits-at-load")

    async def scenario() -> None:
        process = script.process(restart_wait_s=0.1)
        await soon(process.start())

        with pytest.raises(ModelNotRunning, match="crashed and is being started again; try again") as raised:
            await soon(process.run(X))
        assert raised.value.retry_after_s == 1
        with pytest.raises(ModelNotRunning):
            await process.run(X)
        script.gate.write_bytes(b"go on")
        await until(lambda: process.phase is Phase.READY)

        assert (await soon(process.run(X)))[0].tolist() == [1, 2]
        await soon(process.close())

    run(scenario())


def test_a_model_can_be_closed_while_it_is_started_again(run, scripted):
    script = scripted("dies-at-run", "waits-at-load")

    async def scenario() -> None:
        process = script.process()
        await soon(process.start())
        waiting = asyncio.create_task(process.run(X))
        await until(lambda: len(script.pids) == 2)

        await soon(process.close())

        with pytest.raises(ModelNotRunning, match="is being unloaded"):
            await soon(waiting)
        assert script.none_is_left()

    run(scenario())
    assert script.ended == []


def test_a_file_that_is_away_for_a_moment_is_asked_for_again(run, scripted):
    script = scripted("dies-at-run", "serves")
    outcomes = iter([None, RegistryUnavailable("the registry is away"), RegistryUnavailable("the registry is away"), None])

    @contextlib.asynccontextmanager
    async def model_file() -> AsyncIterator[Path]:
        outage = next(outcomes)
        if outage is not None:
            raise outage
        yield Path("model.onnx")

    async def scenario() -> None:
        process = script.process(model_file)
        await soon(process.start())

        assert (await soon(process.run(X)))[0].tolist() == [1, 2]
        await soon(process.close())

    run(scenario())
    assert script.pauses == [0.5, 1.0]


def test_a_file_that_stays_away_is_no_fault_of_the_model(run, scripted):
    script = scripted("dies-at-run")
    files = iter([lying_at(Path("model.onnx"))])

    @contextlib.asynccontextmanager
    async def model_file() -> AsyncIterator[Path]:
        found = next(files, None)
        if found is None:
            raise RegistryUnavailable("the registry is away", retry_after_s=7)
        async with found() as path:
            yield path

    async def scenario() -> None:
        process = script.process(model_file)
        await soon(process.start())
        with pytest.raises(RegistryUnavailable, match="the registry is away") as raised:
            await soon(process.run(X))
        assert raised.value.retry_after_s == 7

    run(scenario())
    assert [type(error) for error in script.ended] == [RegistryUnavailable]


def test_a_process_that_the_kernel_kills_for_memory_is_told_as_such(run, scripted, monkeypatch):
    monkeypatch.setattr(MemoryKills, "has_grown", lambda self: True)
    script = scripted("dies-at-run", "dies-at-run", "dies-at-run", "serves")

    async def scenario() -> None:
        process = script.process()
        await soon(process.start())

        with pytest.raises(PredictionTooLarge, match="need more memory than there is"):
            await soon(process.run(X))

        assert str(process.last_exit) == "was killed by the kernel because memory ran out (SIGKILL)"
        await soon(process.close())

    run(scenario())


def test_a_model_is_started_again_once_the_disk_has_room_for_it(run, scripted):
    script = scripted("serves")

    async def scenario() -> None:
        process = script.process()
        await soon(process.start())
        load, attempts = process._load, []

        async def full_at_first() -> None:
            attempts.append(1)
            if len(attempts) == 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            await load()

        process._load = full_at_first
        os.kill(process.pid, signal.SIGKILL)

        await until(lambda: process.restarts == 1)
        assert (process.phase, len(attempts)) == (Phase.READY, 2)
        await soon(process.run(X))
        await soon(process.close())

    run(scenario())


def test_a_run_whose_caller_has_left_is_not_started_and_not_run_again(run, scripted):
    script = scripted("hangs-on-poison", "serves")

    async def scenario() -> None:
        process = script.process()
        await soon(process.start())
        under_way, waiting = asyncio.create_task(process.run(POISON)), asyncio.create_task(process.run(POISON))
        last = asyncio.create_task(process.run(X))
        await asyncio.sleep(0)

        under_way.cancel()
        waiting.cancel()
        await asyncio.wait({under_way, waiting})
        os.kill(script.pids[0], signal.SIGKILL)

        assert (await soon(last))[0].tolist() == [1, 2]
        assert process.restarts == 1
        await soon(process.close())

    run(scenario())


def test_closing_twice_waits_for_the_end_both_times(run, scripted):
    script = scripted("ignores-sigterm")

    async def scenario() -> None:
        process = script.process(stop_grace_s=0.1)
        await soon(process.start())
        gone = []

        async def close() -> None:
            await process.close()
            gone.append(script.none_is_left())

        await soon(asyncio.gather(close(), close()))

        assert gone == [True, True]

    run(scenario())
