from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from servers.serving.model_process.child import Child

WITHIN_S = 60.0
IDLE = (sys.executable, "-I", "-S", "-c", "import os, signal; os.read(0, 1); os.write(1, b'bye'); signal.pause()")

pytestmark = pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])


async def started(command: tuple[str, ...]) -> Child:
    return await Child.start(command, max_payload_bytes=0, on_message=lambda _: None)


def test_what_is_sent_after_the_connection_is_lost_goes_nowhere_and_raises_nothing(run):
    async def scenario() -> None:
        child = await started((sys.executable, "-I", "-S", "-c", "import socket; socket.socket(fileno=0).shutdown(2); input()"))
        await asyncio.wait_for(child._connection.lost, WITHIN_S)

        child.send([b"x", bytes(1 << 20)])

        exited = await asyncio.wait_for(child.exited, WITHIN_S)
        assert exited.return_code != 0
        child.send([b"x"])

    run(scenario())


def test_a_process_is_stopped_once_whoever_asks(run):
    async def scenario() -> None:
        child = await started(IDLE)

        exits = await asyncio.wait_for(asyncio.gather(child.stop(5), child.stop(5), child.exited), WITHIN_S)

        assert len(set(exits)) == 1
        assert await child.stop(5) == exits[0]
        child.kill("it is late")

    run(scenario())


def test_what_it_wrote_lastly_is_known_with_its_end(run):
    async def scenario() -> None:
        child = await started((sys.executable, "-I", "-S", "-c", "import os; os.write(1, b'x' * 100_000 + b'bye'); os._exit(4)"))

        exited = await asyncio.wait_for(child.exited, WITHIN_S)

        assert exited.return_code == 4
        assert exited.last_lines == "x" * 8189 + "bye"

    run(scenario())
