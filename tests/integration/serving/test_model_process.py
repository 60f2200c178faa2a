"""Models in real processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from servers.serving.errors import ModelLoadFailed, ModelRunRefused, PredictionTooLarge
from servers.serving.model_process.__main__ import PROTOCOL_ERROR
from servers.serving.model_process.child import PROGRAM
from servers.serving.model_process.errors import ModelCrashed, ModelNotRunning
from servers.serving.model_process.frames import frame_parts
from servers.serving.model_process.interrupts import InterruptSender
from servers.serving.model_process.limits import ProcessLimits
from servers.serving.model_process.messages import Load, Run, message_parts
from servers.serving.model_process.model_process import ModelProcess, Phase
from servers.serving.model_process.packed_tensors import NamedTensor
from servers.serving.onnx_session import OnnxSession
from servers.serving.signature import ELEMENT_TYPES, TensorSpec
from tests.integration.serving.model_processes import LOOPS, WITHIN_S, lying_at, soon, started, until
from tests.small_mesh import onnx_models

ONNX_TYPES = {
    **{"BOOL": TensorProto.BOOL, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16, "UINT32": TensorProto.UINT32},
    **{"UINT64": TensorProto.UINT64, "INT8": TensorProto.INT8, "INT16": TensorProto.INT16, "INT32": TensorProto.INT32},
    **{"INT64": TensorProto.INT64, "FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE},
    **{"BF16": TensorProto.BFLOAT16, "BYTES": TensorProto.STRING},
}
MIB = 1024**2

run_on_each_loop = pytest.mark.parametrize("run", LOOPS, ids=["uvloop", "asyncio"])
run = LOOPS[0]


def model_processes_left() -> list[psutil.Process]:
    """Of this process; others of its children are servers of other tests."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "servers.serving.model_process" in child.cmdline():
                found.append(child)
    return found


@pytest.fixture
def saved(tmp_path) -> Callable[[bytes], Path]:
    def save(model: bytes) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(model)
        return path

    return save


def send(process: ModelProcess, number: signal.Signals) -> None:
    assert process.pid is not None, "without a process it would be a signal to that of pytest and all beside it"
    os.kill(process.pid, number)


def resident_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)


@pytest.mark.parametrize("datatype", sorted(ELEMENT_TYPES))
def test_every_element_type_comes_back_bit_by_bit(saved, datatype):
    if datatype == "BYTES":
        array = np.array(["", "ü", "a\0b", "x" * 100_000], dtype=object)
    else:
        dtype = ELEMENT_TYPES[datatype].dtype
        raw = np.random.default_rng(1).integers(0, 2 if datatype == "BOOL" else 256, 4096 * dtype.itemsize, "u1")
        array = raw.view(dtype)  # of floats also NaNs with all kinds of payloads, infinities and subnormal numbers

    async def scenario() -> None:
        async with started(saved(onnx_models.identity(ONNX_TYPES[datatype]))) as process:
            assert process.signature.inputs == (TensorSpec("x", datatype, (-1,), ("N",)),)
            for sent in (array, array[:0], array[:1]):
                (found,) = await soon(process.run({"x": sent}))
                assert (found.dtype, found.shape) == (sent.dtype, sent.shape)
                assert (found.tolist() == sent.tolist()) if datatype == "BYTES" else (found.tobytes() == sent.tobytes())

    run(scenario())


def test_a_scalar_comes_back(saved):
    async def scenario() -> None:
        async with started(saved(onnx_models.identity(TensorProto.BFLOAT16, ()))) as process:
            (found,) = await soon(process.run({"x": np.array(0x3FC0, "<u2")}))
            assert (found.shape, found.item()) == ((), 0x3FC0)

    run(scenario())


@run_on_each_loop
def test_answers_have_the_bits_of_a_session_in_this_process(run, saved):
    model = onnx_models.linear()
    x = np.random.default_rng(0).normal(size=(9, 4)).astype("f4")

    async def scenario() -> None:
        async with started(saved(model)) as process:
            assert process.signature == OnnxSession(model).signature
            assert (await soon(process.run({"x": x})))[0].tobytes() == onnx_models.run(model, {"x": x})[0].tobytes()

    run(scenario())


def test_outputs_come_in_the_order_asked_for(saved):
    feeds = {"carrier": np.array([["AA"]], dtype=object), "distance": np.ones((1, 1), "f4"), "month": np.ones((1, 1), "i8")}

    async def scenario() -> None:
        async with started(saved(onnx_models.row_of_table())) as process:
            for outputs, expected in (((1, 0), [[[2.0]], [["AA"]]]), ((), [[["AA"]], [[2.0]]]), ((1,), [[[2.0]]])):
                assert [array.tolist() for array in await soon(process.run(feeds, outputs))] == expected

    run(scenario())


def test_answers_may_be_written_to_as_those_of_a_session(saved):
    async def scenario() -> None:
        async with started(saved(onnx_models.identity(TensorProto.FLOAT))) as process:
            for count in (3, 100_000):
                (found,) = await soon(process.run({"x": np.zeros(count, "f4")}))
                found += 1
                assert found.sum() == count

    run(scenario())


@run_on_each_loop
def test_64_mib_go_there_and_back(run, saved):
    x = np.random.default_rng(2).integers(0, 2**32, 16 * MIB, "u4").view("<f4")

    async def scenario() -> None:
        async with started(saved(onnx_models.identity(TensorProto.FLOAT))) as process:
            (found,) = await soon(process.run({"x": x}))
            assert found.tobytes() == x.tobytes()

    run(scenario())


def test_what_is_larger_than_a_run_may_have_is_refused_on_its_way_in_and_out(saved):
    limits = ProcessLimits(max_payload_bytes=MIB)

    async def scenario() -> None:
        async with started(saved(onnx_models.large(megabytes=8)), limits=limits) as process:
            pid = process.pid
            with pytest.raises(PredictionTooLarge, match="the inputs of the run have 1,052,672 bytes, and may have 1,048,576"):
                await soon(process.run({"x": np.zeros((257, 1024), "f4")}))
            with pytest.raises(PredictionTooLarge, match="the outputs of the run have 1,638,400 bytes, and may have 1,048,576"):
                await soon(process.run({"x": np.zeros((200, 1024), "f4")}))
            assert (await soon(process.run({"x": np.zeros((1, 1024), "f4")})))[0].shape == (1, 2048)
            assert process.pid == pid, "it is the same process"

    run(scenario())


def test_inputs_that_the_model_refuses_do_not_hurt_it(saved):
    async def scenario() -> None:
        async with started(saved(onnx_models.gather(5))) as process:
            pid = process.pid
            with pytest.raises(ModelRunRefused, match=r"the model does not run on them.*out of (data )?bounds"):
                await soon(process.run({"index": np.array([7], "i8")}))
            assert (await soon(process.run({"index": np.array([4], "i8")})))[0].tolist() == [4]
            assert process.pid == pid

    run(scenario())


def test_a_file_that_is_no_model_is_refused_with_the_reason(saved):
    async def scenario() -> None:
        process = ModelProcess("`m` version 1", lying_at(saved(b"not a model")))
        with pytest.raises(ModelLoadFailed, match=r"ONNX Runtime .* refuses the model") as raised:
            await soon(process.start())
        assert not isinstance(raised.value, ModelCrashed)
        assert model_processes_left() == []

    run(scenario())


def test_external_data_is_read_from_beside_the_model(saved, tmp_path):
    model, data = onnx_models.with_external_data("weights.bin")
    (tmp_path / "weights.bin").write_bytes(data)

    async def scenario() -> None:
        async with started(saved(model)) as process:
            assert (await soon(process.run({"x": np.zeros((1, 4), "f4")})))[0].tolist() == [[0, 1, 2, 3]]

    run(scenario())


def test_the_file_may_go_once_the_model_is_loaded(saved):
    path = saved(onnx_models.linear())

    async def scenario() -> None:
        async with started(path) as process:
            path.unlink()
            assert (await soon(process.run({"x": np.zeros((1, 4), "f4")})))[0].shape == (1, 3)

    run(scenario())


def test_a_model_that_needs_more_memory_than_it_may_take_is_refused(saved):
    limits = ProcessLimits(memory_limit_bytes=100 * MIB)

    async def scenario() -> None:
        process = ModelProcess("`m` version 1", lying_at(saved(onnx_models.large(megabytes=96))), limits)
        with pytest.raises(ModelLoadFailed, match="the model needs more memory than its process may take, 104,857,600 bytes"):
            await soon(process.start())

    run(scenario())


def test_a_run_that_needs_more_memory_than_it_may_take_is_refused_and_the_model_stays(saved):
    limits = ProcessLimits(memory_limit_bytes=200 * MIB)

    async def scenario() -> None:
        async with started(saved(onnx_models.large(megabytes=32)), limits=limits) as process:
            pid = process.pid
            with pytest.raises(PredictionTooLarge):
                await soon(process.run({"x": np.zeros((8192, 1024), "f4")}))
            assert (await soon(process.run({"x": np.zeros((1, 1024), "f4")})))[0].shape == (1, 8192)
            assert process.pid == pid

    run(scenario())


def test_the_memory_of_an_unloaded_model_is_back(saved):
    path = saved(onnx_models.large(megabytes=200))
    feeds = {"x": np.ones((1, 1024), "f4")}

    async def scenario() -> None:
        async with started(saved(onnx_models.linear())):  # what is imported once stays
            pass
        path.write_bytes(onnx_models.large(megabytes=200))
        before = resident_bytes(os.getpid())

        async with started(path) as process:
            await soon(process.run(feeds))
            pid = process.pid
            assert pid is not None
            assert resident_bytes(pid) > 200 * MIB
            assert resident_bytes(os.getpid()) < before + 8 * MIB, "the server has none of it"

        assert not psutil.pid_exists(pid)
        assert model_processes_left() == []
        assert resident_bytes(os.getpid()) < before + 8 * MIB

    run(scenario())


@run_on_each_loop
def test_runs_that_wait_are_answered_each_with_its_own(run, saved):
    async def scenario() -> None:
        async with started(saved(onnx_models.identity(TensorProto.FLOAT))) as process:
            sent = [np.full(number * 997 % 40_000, number, "f4") for number in range(60)]
            found = await soon(asyncio.gather(*(process.run({"x": array}) for array in sent)))
            assert all(np.array_equal(array, answer[0]) for array, answer in zip(sent, found, strict=True))

    run(scenario())


def test_a_cancelled_run_does_not_disturb_the_others(saved):
    model = onnx_models.slow(rounds=20)
    x = np.random.default_rng(0).normal(size=(64, 256)).astype("f4")

    async def scenario() -> None:
        async with started(saved(model)) as process:
            under_way, waiting, last = (asyncio.create_task(process.run({"x": x + number})) for number in range(3))
            await asyncio.sleep(0)
            under_way.cancel()
            waiting.cancel()
            assert (await soon(last))[0].tobytes() == onnx_models.run(model, {"x": x + 2})[0].tobytes()
            assert under_way.cancelled()
            assert waiting.cancelled()

    run(scenario())


@run_on_each_loop
def test_a_run_under_way_ends_when_its_caller_leaves(run, saved):
    async def scenario() -> None:
        async with started(saved(onnx_models.rounds())) as process:
            endless = asyncio.create_task(process.run({"rounds": np.array([2**62])}))
            child = psutil.Process(process.pid)
            before_s = child.cpu_times().user
            await until(lambda: child.cpu_times().user > before_s + 0.1)
            endless.cancel()
            assert (await soon(process.run({"rounds": np.array([3])})))[0].tolist() == [3]
            assert (process.pid, process.restarts) == (child.pid, 0)

    run(scenario())


@run_on_each_loop
def test_no_run_fails_when_the_process_is_killed_under_load(run, saved):
    model = onnx_models.linear()
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("f4")
    expected = onnx_models.run(model, {"x": x})[0].tobytes()

    async def scenario() -> None:
        limits = ProcessLimits(restart_wait_s=WITHIN_S)
        async with started(saved(model), limits=limits) as process:
            answered = 0
            is_over = False

            async def call() -> None:
                nonlocal answered
                while not is_over:
                    assert (await process.run({"x": x}))[0].tobytes() == expected
                    answered += 1

            callers = [asyncio.create_task(call()) for _ in range(4)]
            for kills in range(3):
                before = answered
                await until(lambda before=before: answered > before + 20)
                send(process, signal.SIGKILL)
                await until(lambda kills=kills: process.restarts == kills + 1)
            before = answered
            await until(lambda before=before: answered > before + 20)
            is_over = True
            await soon(asyncio.gather(*callers))

            assert str(process.last_exit) == "was killed by SIGKILL"

    run(scenario())


def test_a_model_whose_process_is_killed_again_and_again_is_given_up(saved):
    ended: list[Any] = []

    async def pause(_: float) -> None:
        pass

    async def scenario() -> None:
        limits = ProcessLimits(max_crashes=3, run_attempts=2)
        async with started(saved(onnx_models.linear()), limits=limits, on_ended=ended.append, pause=pause) as process:
            for restarts in range(3):
                await until(lambda restarts=restarts: process.phase is Phase.READY and process.restarts == restarts)
                send(process, signal.SIGKILL)
            await until(lambda: process.phase is Phase.ENDED)

            with pytest.raises(ModelCrashed, match="3 times, lastly because the model's process was killed by SIGKILL"):
                await process.run({"x": np.zeros((1, 4), "f4")})

    run(scenario())
    assert [type(error) for error in ended] == [ModelCrashed]


def test_a_closed_model_runs_nothing(saved):
    async def scenario() -> None:
        async with started(saved(onnx_models.linear()), limits=ProcessLimits(stop_grace_s=0)) as process:
            send(process, signal.SIGSTOP)  # or it might answer before it is closed
            waiting = [asyncio.create_task(process.run({"x": np.zeros((1, 4), "f4")})) for _ in range(3)]
            await asyncio.sleep(0)
        for call in waiting:
            with pytest.raises(ModelNotRunning, match="is being unloaded"):
                await soon(call)
        with pytest.raises(ModelNotRunning, match="is being unloaded"):
            await process.run({"x": np.zeros((1, 4), "f4")})

    run(scenario())


def test_the_process_knows_nothing_of_the_mesh(saved, monkeypatch):
    monkeypatch.setenv("MLMESH_SERVICE_KEY", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    async def scenario() -> None:
        async with started(saved(onnx_models.linear())) as process:
            child = psutil.Process(process.pid)
            assert "secret" not in child.environ().values()
            assert child.net_connections("inet") == []
            libraries = "\n".join(region.path for region in child.memory_maps(grouped=True))
            assert "onnxruntime" in libraries
            assert not [name for name in ("sqlalchemy", "uvloop", "psycopg", "google/_upb") if name in libraries]

    run(scenario())


PARENT = """
import asyncio, contextlib, pathlib, sys
from servers.serving.model_process.model_process import ModelProcess

@contextlib.asynccontextmanager
async def model_file():
    yield pathlib.Path(sys.argv[1])

async def main():
    process = ModelProcess("m", model_file)
    await process.start()
    print(process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_the_process_dies_with_the_server(saved):
    server = subprocess.Popen([sys.executable, "-P", "-c", PARENT, str(saved(onnx_models.linear()))], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    child = psutil.Process(int(server.stdout.readline()))

    server.kill()
    server.wait(WITHIN_S)
    server.stdout.close()

    with contextlib.suppress(psutil.NoSuchProcess):
        child.wait(WITHIN_S)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE  # whoever adopted it may take its time


@contextlib.contextmanager
def program() -> Iterator[tuple[socket.socket, subprocess.Popen[bytes]]]:
    """The real program, and the server's end of its socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen(PROGRAM, stdin=theirs, stderr=subprocess.PIPE) as process:
        theirs.close()
        ours.settimeout(WITHIN_S)
        interrupts = InterruptSender(ours)
        try:
            yield ours, process
        finally:
            process.kill()
            interrupts.close()


HEADERS = st.dictionaries(
    st.sampled_from(["kind", "path", "call", "inputs"]), st.integers(0, 2**64 - 1) | st.sampled_from(["load", "run"]), max_size=4
)
GARBAGE = st.binary(min_size=1, max_size=200) | HEADERS.map(lambda header: frame_parts(header)[0])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(garbage=GARBAGE)
@example(garbage=b"MLM1" + b"\xff" * 12)
@example(garbage=message_parts(Run(1, [], ()))[0])
def test_garbage_ends_the_process_and_never_crashes_it(garbage):
    with program() as (connection, process):
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)

        _, written = process.communicate(timeout=WITHIN_S)

    assert process.returncode in (0, PROTOCOL_ERROR), written
    assert b"Traceback" not in written


NUMBERS = NamedTensor("x", "FP32", np.zeros(1, "f4"))


@pytest.mark.parametrize("request_", [Load("", 1, 0, MIB), Run(1, [NUMBERS], (9,))], ids=["second load", "no such output"])
def test_a_request_that_has_no_place_ends_the_process(saved, request_):
    path = saved(onnx_models.identity(TensorProto.FLOAT))
    with program() as (connection, process):
        connection.sendall(message_parts(Load(str(path), 1, 0, MIB))[0])
        connection.sendall(message_parts(request_, max_payload_bytes=MIB)[0])

        _, written = process.communicate(timeout=WITHIN_S)

    assert process.returncode == PROTOCOL_ERROR
    assert b"the server sent what the protocol does not have" in written
