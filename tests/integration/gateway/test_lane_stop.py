"""Stops and starts of servers whose calls come over lanes, under load through a real Envoy."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from gateway.clusters import workers_name
from tests.integration.gateway.lane_behind_envoy import COMPONENT, lane_behind_envoy, mesh_by
from tests.integration.gateway.lane_workers import WORKERS, Workers, running_workers
from tests.integration.gateway.mesh_in_memory import GatewayUnderTest, wait_until
from tests.integration.runtime.lane_contract import message, stub
from tests.integration.runtime.lane_server import lane_server


@pytest.fixture
def workers() -> Iterator[Workers]:
    with running_workers() as running:
        yield running


class Load:
    """Threads that call without pause and repeat nothing themselves."""

    def __init__(self, call: Callable[[], str], threads: int = 6) -> None:
        self.outcomes: Counter[str] = Counter()
        self._call = call
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.outcomes["ok"] > 50, 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def more(self, count: int = 100) -> None:
        wanted = self.outcomes.total() + count
        wait_until(lambda: self.outcomes.total() >= wanted, 30)

    def _run(self) -> None:
        while not self._stop.is_set():
            outcome = self._call()
            self.outcomes[outcome] += 1


def _grpc_calls(stack: contextlib.ExitStack, gateway: GatewayUnderTest) -> Callable[[], str]:
    channel = stack.enter_context(gateway.channel())
    # The client of gRPC repeats what it has not sent; the gateway is one that never goes away.
    one = stub(channel, "One")

    def call() -> str:
        try:
            return "ok" if one(message("Ask")(text="x"), timeout=20).text == "x" else "another answer"
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"

    return call


def _rest_calls(stack: contextlib.ExitStack, gateway: GatewayUnderTest) -> Callable[[], str]:
    def call() -> str:
        response = gateway.client.post("/lane/later/x", content=b"body")
        return "ok" if response.status_code == 200 else f"{response.status_code}: {response.text}"

    return call


@pytest.mark.parametrize("kind", [_grpc_calls, _rest_calls], ids=["grpc", "rest"])
def test_workers_that_restart_in_turn_fail_no_call_not_even_of_a_method_that_is_never_repeated(workers: Workers, kind: Any) -> None:
    with contextlib.ExitStack() as stack:
        load = Load(kind(stack, workers.gateway))
        with load:
            for number in (0, 1, 0, 1):
                workers.restart(number)
                wait_until(lambda: workers.healthy() == WORKERS, 30)
                load.more()

    assert set(load.outcomes) == {"ok"}, load.outcomes


def test_a_lone_worker_that_stops_answers_every_call_that_it_began(workers: Workers) -> None:
    """Both stop at once, so calls must fail in the end; but none that was begun."""
    with contextlib.ExitStack() as stack:
        load = Load(_grpc_calls(stack, workers.gateway))
        with load:
            workers.stop()
            # One for each thread: the gateway tries for seconds before it gives up.
            load.more(6)

    assert load.outcomes["ok"] == workers.effects(), load.outcomes
    failed = {outcome.partition(":")[0] for outcome in load.outcomes} - {"ok"}
    assert failed <= {"UNAVAILABLE"}, load.outcomes


def test_a_call_that_runs_longer_than_the_drain_is_answered_and_a_stream_too(workers: Workers) -> None:
    with workers.gateway.channel() as channel:
        slow = [stub(channel, "One").future(message("Ask")(how="slow", text=str(number)), timeout=30) for number in range(4)]
        stream = stub(channel, "Many")(message("Ask")(how="slow", count=8), timeout=30)
        first = next(stream)
        workers.stop()
        texts = [call.result().text for call in slow]
        rest = [answer.text for answer in stream]

    assert first.text == "0"
    assert texts == ["0", "1", "2", "3"]
    assert rest == [str(number) for number in range(1, 8)]
    assert [process.returncode for process in workers.processes] == [0] * WORKERS


@pytest.mark.parametrize("kind", [_grpc_calls, _rest_calls], ids=["grpc", "rest"])
def test_what_a_stopping_worker_refuses_another_one_does_whatever_the_method(kind: Any) -> None:
    """The worker that refuses still passes its health checks, as it does right after a signal."""
    with lane_behind_envoy() as behind, lane_server() as stopping, contextlib.ExitStack() as stack:
        behind.gateway.publish(mesh_by("lane", behind.gateway, behind.backend, stopping))
        wait_until(lambda: behind.gateway.envoy.admin.healthy_endpoints(workers_name(COMPONENT)) == 2)
        stopping.server._admission.close()
        call = kind(stack, behind.gateway)

        outcomes = Counter(call() for _ in range(60))
        refusals = behind.gateway.envoy.admin.stat(f"cluster.{workers_name(COMPONENT)}.upstream_rq_retry")

    assert outcomes == {"ok": 60}
    assert refusals > 0
    assert stopping.servicer.calls == []
