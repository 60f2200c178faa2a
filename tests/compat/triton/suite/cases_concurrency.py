"""Asynchronous clients, streams and compression."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from mesh import GRPC, HTTP, bearer, expected
from transports import Transport, assert_same_bits, over_http
from tritonclient.utils import InferenceServerException

GRPC_INPUT, HTTP_INPUT = tritonclient.grpc.InferInput, tritonclient.http.InferInput
TIMEOUT_S = 60


def linear_input(kind: Any, rows: int) -> tuple[list[Any], np.ndarray[Any, Any]]:
    inputs, outputs = expected("linear", 2, str(rows))
    return [kind("x", [rows, 4], "FP32").set_data_from_numpy(inputs["x"])], outputs["y"]


def test_callbacks_get_their_own_answers(grpc_client: Any) -> None:
    answers: queue.Queue[tuple[int, Any, Any]] = queue.Queue()
    for rows in (1, 2, 3, 7, 64):
        inputs, _ = linear_input(GRPC_INPUT, rows)
        grpc_client.async_infer(
            "linear",
            inputs,
            lambda result, error, rows=rows: answers.put((rows, result, error)),
            headers=bearer(),
            client_timeout=TIMEOUT_S,
        )

    for _ in range(5):
        rows, result, error = answers.get(timeout=TIMEOUT_S)
        assert error is None
        assert_same_bits(result.as_numpy("y"), linear_input(GRPC_INPUT, rows)[1])


@pytest.mark.http
def test_greenlets_get_their_own_answers(http_client: Any) -> None:
    requests = {rows: http_client.async_infer("linear", linear_input(HTTP_INPUT, rows)[0], headers=bearer()) for rows in (1, 2, 3, 7, 64)}

    for rows, request in requests.items():
        assert_same_bits(request.get_result(timeout=TIMEOUT_S).as_numpy("y"), linear_input(HTTP_INPUT, rows)[1])


def test_coroutines_over_grpc_get_their_own_answers() -> None:
    async def predict() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(GRPC) as client:
            assert await client.is_server_live(headers=bearer())
            sizes = [1, 2, 3, 7, 64] * 4
            answers = await asyncio.gather(*(client.infer("linear", linear_input(GRPC_INPUT, rows)[0], headers=bearer()) for rows in sizes))
            for rows, answer in zip(sizes, answers, strict=True):
                assert_same_bits(answer.as_numpy("y"), linear_input(GRPC_INPUT, rows)[1])

    asyncio.run(predict())


@pytest.mark.http
def test_coroutines_over_http_get_their_own_answers() -> None:
    async def predict() -> None:
        async with tritonclient.http.aio.InferenceServerClient(HTTP) as client:
            assert await client.is_server_live(headers=bearer())
            sizes = [1, 2, 3, 7, 64] * 4
            answers = await asyncio.gather(*(client.infer("linear", linear_input(HTTP_INPUT, rows)[0], headers=bearer()) for rows in sizes))
            for rows, answer in zip(sizes, answers, strict=True):
                assert_same_bits(answer.as_numpy("y"), linear_input(HTTP_INPUT, rows)[1])

    asyncio.run(predict())


def test_a_coroutine_over_grpc_gets_its_error() -> None:
    async def predict() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(GRPC) as client:
            await client.infer("unknown", linear_input(GRPC_INPUT, 1)[0], headers=bearer())

    with pytest.raises(InferenceServerException, match="unknown"):
        asyncio.run(predict())


@pytest.mark.http
def test_a_coroutine_over_http_gets_its_error() -> None:
    async def predict() -> None:
        async with tritonclient.http.aio.InferenceServerClient(HTTP) as client:
            await client.infer("unknown", linear_input(HTTP_INPUT, 1)[0], headers=bearer())

    with pytest.raises(InferenceServerException, match="unknown"):
        asyncio.run(predict())


@pytest.fixture
def stream() -> Iterator[tuple[Any, queue.Queue[tuple[Any, Any]]]]:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(GRPC) as client:
        client.start_stream(lambda result, error: answers.put((result, error)), headers=bearer())
        yield client, answers
        client.stop_stream()


def test_a_stream_is_answered_in_its_order(stream: tuple[Any, queue.Queue[tuple[Any, Any]]]) -> None:
    client, answers = stream
    sizes = [1, 2, 3, 7, 64] * 10
    for number, rows in enumerate(sizes):
        client.async_stream_infer("linear", linear_input(GRPC_INPUT, rows)[0], request_id=str(number))

    for number, rows in enumerate(sizes):
        result, error = answers.get(timeout=TIMEOUT_S)
        assert error is None
        assert result.get_response().id == str(number)
        assert_same_bits(result.as_numpy("y"), linear_input(GRPC_INPUT, rows)[1])


def test_a_stream_goes_on_after_a_request_that_fails(stream: tuple[Any, queue.Queue[tuple[Any, Any]]]) -> None:
    client, answers = stream
    inputs, outputs = linear_input(GRPC_INPUT, 2)
    for model in ("linear", "unknown", "linear"):
        client.async_stream_infer(model, inputs)

    first, failed, last = (answers.get(timeout=TIMEOUT_S) for _ in range(3))
    assert failed[0] is None
    assert "unknown" in str(failed[1])
    for result, error in (first, last):
        assert error is None
        assert_same_bits(result.as_numpy("y"), outputs)


def test_a_stream_says_which_answer_is_the_last(stream: tuple[Any, queue.Queue[tuple[Any, Any]]]) -> None:
    client, answers = stream
    client.async_stream_infer("linear", linear_input(GRPC_INPUT, 1)[0], enable_empty_final_response=True)

    result, error = answers.get(timeout=TIMEOUT_S)

    assert error is None
    assert result.get_response().parameters["triton_final_response"].bool_param


def test_a_stream_of_coroutines_is_answered() -> None:
    async def predict() -> list[Any]:
        async def requests() -> Any:
            for number in range(5):
                yield {"model_name": "linear", "inputs": linear_input(GRPC_INPUT, 3)[0], "request_id": str(number)}

        async with tritonclient.grpc.aio.InferenceServerClient(GRPC) as client:
            return [answer async for answer in client.stream_infer(requests(), headers=bearer())]

    answers = asyncio.run(predict())

    assert [result.get_response().id for result, _ in answers] == list("01234")
    for result, error in answers:
        assert error is None
        assert_same_bits(result.as_numpy("y"), linear_input(GRPC_INPUT, 3)[1])


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_messages_may_be_compressed_over_grpc(grpc_client: Any, algorithm: str) -> None:
    inputs, outputs = linear_input(GRPC_INPUT, 64)

    answer = grpc_client.infer("linear", inputs, headers=bearer(), compression_algorithm=algorithm)

    assert_same_bits(answer.as_numpy("y"), outputs)


@over_http
@pytest.mark.parametrize("answer_by", ["gzip", "deflate", None])
@pytest.mark.parametrize("request_by", ["gzip", "deflate", None])
def test_bodies_may_be_compressed_over_http(transport: Transport, request_by: str | None, answer_by: str | None) -> None:
    inputs, outputs = expected("linear", 2, "64")

    answer = transport.infer("linear", inputs, ["y"], request_compression_algorithm=request_by, response_compression_algorithm=answer_by)

    assert_same_bits(answer.as_numpy("y"), outputs["y"])


def test_connections_are_used_again(transport: Transport) -> None:
    inputs, outputs = expected("linear", 2, "1")

    for _ in range(50):
        assert_same_bits(transport.infer("linear", inputs, ["y"]).as_numpy("y"), outputs["y"])
