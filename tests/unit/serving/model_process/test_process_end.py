from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest
import uvloop

from servers.serving.model_process.process_end import ended

WITHIN_S = 60.0


def start(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen((sys.executable, "-I", "-S", "-c", code), stdin=subprocess.PIPE)


def open_files() -> int:
    return psutil.Process().num_fds()


def without_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("change", [lambda _: None, without_pidfd], ids=["Linux", "elsewhere"])
def test_the_end_of_a_process_is_noticed_with_its_status(run, change, monkeypatch):
    change(monkeypatch)

    async def scenario() -> None:
        quick, killed = start("raise SystemExit(3)"), start("input()")
        killed.send_signal(signal.SIGKILL)

        assert await asyncio.wait_for(ended(quick), WITHIN_S) == 3
        assert await asyncio.wait_for(ended(killed), WITHIN_S) == -signal.SIGKILL

    run(scenario())


def test_many_are_watched_on_loops_of_several_threads():
    found: list[int] = []

    async def scenario() -> None:
        statuses = (ended(start(f"raise SystemExit({number})")) for number in range(5))
        found.extend(await asyncio.wait_for(asyncio.gather(*statuses), WITHIN_S))

    threads = [threading.Thread(target=uvloop.run, args=(scenario(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == sorted([0, 1, 2, 3, 4] * 3)


def test_who_does_not_want_to_know_any_more_leaves_nothing_open():
    async def scenario() -> None:
        process = start("input()")
        # What other tests have left for the collector must not go meanwhile; what other threads have open may come.
        gc.collect()
        before = open_files()
        waiting = asyncio.create_task(ended(process))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        deadline = asyncio.get_running_loop().time() + WITHIN_S
        while open_files() > before and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        assert open_files() <= before
        process.kill()
        process.wait()

    uvloop.run(scenario())
