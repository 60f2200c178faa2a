from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from time import monotonic

import pytest

from servers.runtime.processes import GrpcProbe, HttpProbe, Process
from servers.runtime.supervisor import ProcessState, StartFailed
from tests.integration.supervisor.bench import PATIENCE_S, Bench, all_healthy, is_running, until


def test_start_returns_once_every_process_is_healthy(bench: Bench) -> None:
    async def scenario() -> None:
        async with bench.supervise(bench.server("a"), bench.server("b")) as supervisor:
            assert all_healthy(supervisor)
            assert all(status.pid and is_running(status.pid) for status in supervisor.statuses)

    asyncio.run(scenario())


def test_a_process_is_started_after_those_it_waits_for_and_stopped_before_those_it_needs(bench: Bench) -> None:
    async def scenario() -> None:
        async with bench.supervise(bench.server("front", starts_after=("back",), needs=("back",)), bench.server("back")):
            pass

    asyncio.run(scenario())

    assert bench.events() == ["back started", "front started", "front stopping", "back stopping"]


def test_a_killed_process_is_started_again_without_a_pause_and_the_others_stay(bench: Bench) -> None:
    # With a pause it would not be back before the test has given up.
    an_hour = {"second_restart_delay_s": 3600, "longest_restart_delay_s": 3600}

    async def scenario() -> None:
        async with bench.supervise(bench.server("a"), bench.server("b"), **an_hour) as supervisor:
            first, other = (status.pid for status in supervisor.statuses)
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await until(lambda: supervisor.statuses[0].restarts == 1 and all_healthy(supervisor), "the restart")
            assert supervisor.statuses[0].last_exit == "was killed by SIGKILL"
            assert supervisor.statuses[0].pid not in (None, first)
            assert supervisor.statuses[1].pid == other

    asyncio.run(scenario())


def test_a_process_that_keeps_dying_is_restarted_until_it_stays(bench: Bench) -> None:
    fire = bench.folder / "fire"

    async def scenario() -> None:
        async with bench.supervise(bench.server("a", "--crash-if-exists", str(fire)), second_restart_delay_s=0.01) as supervisor:
            fire.touch()
            pid = supervisor.statuses[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: supervisor.statuses[0].restarts >= 3, "three restarts")
            assert supervisor.statuses[0].last_exit == "ended with exit code 3"
            fire.unlink()
            await until(lambda: all_healthy(supervisor), "the server to stay")

    asyncio.run(scenario())


def test_a_start_fails_with_the_reason_and_the_last_words_of_the_process_that_ended(bench: Bench) -> None:
    fire = bench.folder / "fire"
    fire.touch()

    async def scenario() -> None:
        (bench.folder / "a.log").write_text("words of yesterday\n")
        async with bench.supervise(bench.server("a", "--crash-if-exists", str(fire)), bench.server("b"), start=False) as supervisor:
            with pytest.raises(StartFailed, match="a ended with exit code 3") as failure:
                await supervisor.start()
            assert failure.value.process == "a"
            assert failure.value.log_tail == "a: the disk is on fire"

    asyncio.run(scenario())


def test_a_start_fails_when_a_process_does_not_become_healthy_in_time(bench: Bench) -> None:
    async def scenario() -> None:
        assert "(GET /ready: 503" in await bench.why_not_started(bench.server("a", "--never-ready"))

    asyncio.run(scenario())


def test_a_server_that_answers_something_else_is_not_healthy(bench: Bench) -> None:
    async def scenario() -> None:
        server = bench.server("a")
        told = replace(server, probes=(HttpProbe(server.probes[0].socket, "/listeners", expected="goodbye"),))
        assert "GET /listeners does not say goodbye" in await bench.why_not_started(told)

    asyncio.run(scenario())


def test_a_program_that_does_not_exist_fails_the_start_and_is_named(bench: Bench) -> None:
    async def scenario() -> None:
        async with bench.supervise(Process("a", ("no-such-program",)), bench.server("b"), start=False) as supervisor:
            with pytest.raises(StartFailed) as failure:
                await supervisor.start()
            assert "no-such-program" in failure.value.log_tail

    asyncio.run(scenario())


def test_a_process_that_hangs_is_killed_and_restarted(bench: Bench) -> None:
    async def scenario() -> None:
        async with bench.supervise(bench.server("a"), liveness_interval_s=0.1, hang_timeout_s=0.5) as supervisor:
            pid = supervisor.statuses[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: supervisor.statuses[0].restarts == 1 and all_healthy(supervisor), "the restart")
            assert supervisor.statuses[0].last_exit.startswith("did not answer for 0.5 s")
            assert not is_running(pid)

    asyncio.run(scenario())


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    async def scenario() -> None:
        async with bench.supervise(bench.server("a", "--ignore-sigterm"), stop_grace_s=0.3) as supervisor:
            pid = supervisor.statuses[0].pid
            assert pid is not None
            await supervisor.stop()
            assert not is_running(pid)
            assert supervisor.statuses[0].state is ProcessState.STOPPED

    asyncio.run(scenario())


def test_what_a_process_started_does_not_outlive_it(bench: Bench) -> None:
    pid_file = bench.folder / "pid"

    async def scenario() -> None:
        async with bench.supervise(bench.server("a", "--grandchild-pid-file", str(pid_file))):
            assert is_running(int(pid_file.read_text()))

        await until(lambda: not is_running(int(pid_file.read_text())), "the grandchild to die")

    asyncio.run(scenario())


def test_traffic_is_drained_before_a_process_is_stopped(bench: Bench) -> None:
    note = f"open({str(bench.journal)!r}, 'a').write('drained\\n')"

    async def scenario() -> None:
        async with bench.supervise(bench.server("a", drain_command=(sys.executable, "-c", note))):
            pass

    asyncio.run(scenario())

    assert bench.events() == ["a started", "drained", "a stopping"]


def test_a_drain_that_takes_too_long_does_not_hold_up_the_stop(bench: Bench) -> None:
    endless = (sys.executable, "-c", "import time; time.sleep(600)")

    async def scenario() -> None:
        async with bench.supervise(bench.server("a", drain_command=endless), drain_timeout_s=0.2) as supervisor:
            begun = monotonic()
            await supervisor.stop()
            assert monotonic() - begun < PATIENCE_S

    asyncio.run(scenario())


def test_a_log_that_grew_too_large_is_rotated_and_written_on(bench: Bench) -> None:
    log = bench.folder / "a.log"

    async def scenario() -> None:
        async with bench.supervise(bench.server("a"), liveness_interval_s=0.05, log_size_bytes=65536) as supervisor:
            with log.open("a") as file:
                file.write("x" * 70_000 + "\n")
            older = bench.folder / "a.log.1"
            await until(lambda: older.exists() and log.stat().st_size == 0, "the rotation")
            assert older.stat().st_size > 65536
            pid = supervisor.statuses[0].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: log.read_text() == "a listens\n", "new lines in the emptied log")

    asyncio.run(scenario())


def test_the_health_of_a_grpc_server_is_that_of_the_named_service(bench: Bench) -> None:
    socket = bench.folder / "g.sock"
    program = (
        "import grpc, sys, time\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from grpc_health.v1 import health, health_pb2, health_pb2_grpc\n"
        "server = grpc.server(ThreadPoolExecutor(2)); servicer = health.HealthServicer()\n"
        "health_pb2_grpc.add_HealthServicer_to_server(servicer, server)\n"
        "servicer.set('', health_pb2.HealthCheckResponse.SERVING)\n"
        "servicer.set('mlops.X', getattr(health_pb2.HealthCheckResponse, sys.argv[2]))\n"
        "server.add_insecure_port('unix:' + sys.argv[1]); server.start(); server.wait_for_termination()\n"
    )

    def table(state: str) -> Process:
        return Process("g", (sys.executable, "-c", program, str(socket), state), probes=(GrpcProbe(socket, "mlops.X"),))

    async def scenario() -> None:
        async with bench.supervise(table("SERVING")) as supervisor:
            assert all_healthy(supervisor)
        assert "mlops.X is NOT_SERVING" in await bench.why_not_started(table("NOT_SERVING"))

    asyncio.run(scenario())


def test_the_children_of_a_killed_supervisor_die_with_it(bench: Bench) -> None:
    program = (
        "import asyncio, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from tests.integration.supervisor.bench import Bench\n"
        "async def main():\n"
        f"    bench = Bench(Path({str(bench.folder)!r}))\n"
        "    async with bench.supervise(bench.server('a'), bench.server('b')) as supervisor:\n"
        "        print(*(status.pid for status in supervisor.statuses), flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        children = [int(pid) for pid in supervisor.stdout.readline().split()]
        assert len(children) == 2
        supervisor.kill()

    asyncio.run(until(lambda: not any(is_running(pid) for pid in children), "the children to die"))
