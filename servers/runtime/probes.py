"""Asks processes how they are: gRPC health and HTTP over Unix sockets, on one event loop."""

from __future__ import annotations

import asyncio

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from servers.runtime.processes import GrpcProbe, HttpProbe

_TIMEOUT_S = 2.0
_MAX_ANSWER_BYTES = 65536

# A server that is just binding its socket should be noticed at once, not after gRPC's default first back-off of a second.
_CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)


class ProbeFailed(Exception):
    """The process is not ready; the message says what it answered."""


async def check(probe: GrpcProbe | HttpProbe) -> None:
    """Returns when the probe finds the process ready.

    Raises:
        ProbeFailed: It is not.
    """
    if isinstance(probe, GrpcProbe):
        await _check_grpc(probe)
    else:
        await _check_http(probe)


async def _check_grpc(probe: GrpcProbe) -> None:
    async with grpc.aio.insecure_channel(f"unix:{probe.socket}", options=_CHANNEL_OPTIONS) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=probe.service), timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise ProbeFailed(f"{probe.service or probe.socket.name}: {error.code().name} {error.details()}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise ProbeFailed(f"{probe.service or probe.socket.name} is {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")


async def _check_http(probe: HttpProbe) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            status, text = await _get(probe)
    except (OSError, ValueError, TimeoutError) as error:
        raise ProbeFailed(f"GET {probe.path}: {error or type(error).__name__}") from error
    if status >= 400:
        raise ProbeFailed(f"GET {probe.path}: {status} {text[:200].strip()}")
    if probe.expected not in text:
        raise ProbeFailed(f"GET {probe.path} does not say {probe.expected}")


async def _get(probe: HttpProbe) -> tuple[int, str]:
    reader, writer = await asyncio.open_unix_connection(str(probe.socket))
    try:
        writer.write(f"GET {probe.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read(_MAX_ANSWER_BYTES)).decode("utf-8", "replace")
    finally:
        writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    status_line = head.split(None, 2)
    if len(status_line) < 2:
        raise ValueError("the answer is not HTTP")
    return int(status_line[1]), body
