from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servers.runtime.admission import REFUSED
from servers.runtime.peers import open_channel
from servers.runtime.server import ListenError
from tests.integration.runtime.rich_errors import refusal_of
from tests.integration.runtime.waiting import eventually, exit_code

ROOT = Path(__file__).parents[3]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class EchoProcess(subprocess.Popen[str]):
    """A server in a process of its own, with its log."""

    log: Path

    def exit_code(self) -> int:
        return exit_code(self, self.log)


@pytest.fixture
def start_process(tmp_path: Path, generated: Path, signing_key: Any) -> Iterator[Callable[..., EchoProcess]]:
    key_file = tmp_path / "key.pem"
    key_file.write_bytes(signing_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    processes: list[EchoProcess] = []

    def start(address: str, **settings: object) -> EchoProcess:
        variables = {f"MLMESH_{name.upper()}": str(value) for name, value in settings.items()}
        path = os.pathsep.join([str(ROOT), str(ROOT / "gen/python"), str(generated)])
        script = str(Path(__file__).parent / "echo_process.py")
        log_file = tmp_path / f"log-{len(processes)}"
        with log_file.open("w") as log:
            process = EchoProcess(
                [sys.executable, script, address, str(key_file)],
                env=os.environ | variables | {"PYTHONPATH": path, "MLMESH_DATA_DIR": str(tmp_path)},
                stderr=log,
                text=True,
            )
        process.log = log_file
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait(10)


def health_of(address: str, service: str = "") -> int | None:
    with grpc.insecure_channel(address) as channel:
        try:
            return int(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=2).status)
        except grpc.RpcError:
            return None


class Load:
    """Threads that call without pause, and count how the calls end."""

    def __init__(self, open_one: Callable[[], grpc.Channel], call: Callable[[grpc.Channel], Any], threads: int = 4) -> None:
        self.outcomes: Counter[str] = Counter()
        # What is counted is compared with what the server counted, and `+=` of two threads may count once.
        self._lock = threading.Lock()
        self._open_one, self._call = open_one, call
        self._stop = threading.Event()
        # Daemons, so that a test that fails before `finish` does not keep the session alive.
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with self._open_one() as channel:
            while not self._stop.is_set():
                try:
                    self._call(channel)
                    outcome = "ok"
                except grpc.RpcError as error:
                    outcome = f"{error.code().name}: {error.details()}"
                with self._lock:
                    self.outcomes[outcome] += 1

    def finish(self) -> Counter[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return self.outcomes


def test_sigterm_under_load_fails_no_call_of_a_peer_and_the_next_server_takes_over(
    start_process: Callable[..., Any], tmp_path: Path, echo_grpc: Any, pb: Any, bearer: Any
) -> None:
    address = f"unix:{tmp_path}/echo.sock"
    servers = [start_process(address, drain_s=1)]
    eventually(lambda: health_of(address) == SERVING, 60)
    metadata = bearer()
    load = Load(
        # Patience for as long as a process takes to start on a machine that is busy with other tests.
        lambda: open_channel(address, services=["mlmesh_test.v1.EchoService"], patience_s=60, timeout_s=60),
        lambda channel: echo_grpc.EchoServiceStub(channel).Echo(pb.EchoRequest(text="x"), metadata=metadata),
    )
    eventually(lambda: load.outcomes["ok"] > 100)

    for _ in range(3):
        servers[-1].send_signal(signal.SIGTERM)
        assert servers[-1].exit_code() == 0
        served = load.outcomes["ok"]
        servers.append(start_process(address, drain_s=1))
        eventually(lambda: load.outcomes["ok"] > served + 100, 60)  # noqa: B023 - called before the next round
    outcomes = load.finish()

    assert set(outcomes) == {"ok"}, outcomes


def test_sigterm_answers_every_call_that_had_an_effect(
    start_process: Callable[..., Any], tmp_path: Path, echo_grpc: Any, pb: Any, bearer: Any
) -> None:
    """Callers that repeat nothing: what fails for them was refused, or never reached the server; it was not done and then lost."""
    address = f"unix:{tmp_path}/echo.sock"
    server = start_process(address, drain_s=0.1)
    eventually(lambda: health_of(address) == SERVING, 60)
    metadata = bearer()
    load = Load(
        lambda: grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]),
        lambda channel: echo_grpc.EchoServiceStub(channel).CreateThing(pb.CreateThingRequest(thing=pb.Thing(name="x")), metadata=metadata),
    )
    eventually(lambda: load.outcomes["ok"] > 100)

    server.send_signal(signal.SIGTERM)
    assert server.exit_code() == 0
    outcomes = load.finish()

    created = int((tmp_path / "things_created").read_text())
    assert outcomes.pop("ok") == created
    assert {outcome.partition(":")[0] for outcome in outcomes} <= {"UNAVAILABLE"}, outcomes


def test_a_stopping_server_says_not_serving_and_serves_on_while_it_drains(
    start_process: Callable[..., Any], tmp_path: Path, connect: Any, pb: Any, bearer: Any
) -> None:
    address = f"unix:{tmp_path}/echo.sock"
    process = start_process(address, drain_s=60)
    eventually(lambda: health_of(address) == SERVING, 60)

    process.send_signal(signal.SIGTERM)
    eventually(lambda: health_of(address) == NOT_SERVING)

    assert health_of(address, "mlmesh_test.v1.EchoService") == NOT_SERVING
    assert connect(address).Echo(pb.EchoRequest(text="still here"), metadata=bearer()).text == "still here"


def test_a_call_under_way_is_answered_after_sigterm(start_process: Callable[..., Any], tmp_path: Path, connect: Any, pb: Any) -> None:
    address = f"unix:{tmp_path}/echo.sock"
    process = start_process(address, drain_s=0)
    eventually(lambda: health_of(address) == SERVING, 60)
    stub = connect(address)
    slow = stub.Ping.future(pb.PingRequest(work_ms=4000))
    # The server has begun it: later calls on the same connection came back, the last of which left its thread time to start.
    for work_ms in (0, 0, 500):
        stub.Ping(pb.PingRequest(work_ms=work_ms))

    process.send_signal(signal.SIGTERM)

    slow.result(60)
    assert process.exit_code() == 0


def test_an_endless_stream_ends_orderly_when_the_server_stops(serve: Callable[..., Any], connect: Any, pb: Any, bearer: Any) -> None:
    server = serve(settings={"grace_s": 10})
    responses = connect(server.address).EchoMany(pb.EchoRequest(text="endless"), metadata=bearer())
    assert next(responses).text == "first"
    started = time.monotonic()

    server.stop()

    assert list(responses)[-1].end.status.code == 0
    assert time.monotonic() - started < 5


def test_a_call_that_outlives_the_grace_is_cancelled(serve: Callable[..., Any], connect: Any, pb: Any, bearer: Any, echo: Any) -> None:
    server = serve(settings={"grace_s": 0.2})
    echo.go_on.clear()
    slow = connect(server.address).CreateThing.future(pb.CreateThingRequest(thing=pb.Thing(name="x")), metadata=bearer())
    assert echo.entered.wait(60)

    server.stop()
    failure = slow.exception(60)
    echo.go_on.set()

    assert failure.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}


def test_stopping_twice_and_closing_in_reverse_order(serve: Callable[..., Any]) -> None:
    closed: list[str] = []
    server = serve(on_close=[lambda: closed.append("first"), lambda: closed.append("second"), lambda: 1 / 0])

    server.stop()
    server.stop()

    assert closed == ["second", "first"]
    assert server.wait(0)


def test_a_server_that_cannot_start_says_why_in_one_line(start_process: Callable[..., Any], tmp_path: Path) -> None:
    process = start_process("unix:relative.sock")

    assert process.exit_code() == 1
    lines = (tmp_path / "log-0").read_text().splitlines()
    assert lines == ["cannot start: cannot listen on unix:relative.sock: the path of a socket has to be absolute"]


def test_a_second_server_does_not_take_a_living_ones_socket(serve: Callable[..., Any], tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/echo.sock"
    serve(settings={"listen": address})

    with pytest.raises(ListenError, match="another server is listening"):
        serve(settings={"listen": address})
    assert health_of(address) == SERVING


def test_a_socket_left_by_a_killed_server_is_taken_over(
    start_process: Callable[..., Any], serve: Callable[..., Any], tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/echo.sock"
    process = start_process(address)
    eventually(lambda: health_of(address) == SERVING, 60)
    process.kill()
    process.wait(10)
    assert (tmp_path / "echo.sock").exists()

    serve(settings={"listen": address})

    assert health_of(address) == SERVING


def test_only_the_owner_may_connect_to_the_socket(serve: Callable[..., Any], tmp_path: Path) -> None:
    serve(settings={"listen": f"unix:{tmp_path}/deep/echo.sock"})

    assert (tmp_path / "deep/echo.sock").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o700


def test_the_socket_is_gone_after_an_orderly_stop(serve: Callable[..., Any], tmp_path: Path) -> None:
    server = serve(settings={"listen": f"unix:{tmp_path}/echo.sock"})

    server.stop()

    assert not (tmp_path / "echo.sock").exists()


def test_a_call_that_comes_too_late_is_refused_in_a_way_that_allows_any_method_to_be_repeated(
    serve: Any, connect: Any, pb: Any, bearer: Any, echo: Any
) -> None:
    server = serve(settings={"grace_s": 60})
    stub = connect(server.address)
    echo.go_on.clear()
    slow = stub.CreateThing.future(pb.CreateThingRequest(thing=pb.Thing(name="x")), metadata=bearer())
    assert echo.entered.wait(60)
    stopping = threading.Thread(target=server.stop)
    stopping.start()

    refusals = []

    def is_refused() -> bool:
        try:
            stub.Ping(pb.PingRequest())
        except grpc.RpcError as error:
            refusals.append(error)
        return bool(refusals)

    eventually(is_refused)
    echo.go_on.set()
    stopping.join(60)

    assert slow.result(60).name == "x"
    refusal = refusal_of(refusals[0])
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPPING")
    assert (REFUSED, "1") in refusals[0].trailing_metadata()
