from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from mlops.common.v1 import component_service_pb2
from mlops.common.v1.component_service_pb2_grpc import ComponentServiceStub
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from servers.runtime.logging import JsonFormatter
from servers.runtime.otlp import message_class
from servers.runtime.peers import open_channel
from tests.integration.runtime.rich_errors import refused
from tests.integration.runtime.waiting import eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = ("traceparent", f"00-{TRACE}-{PARENT}-01")


class Collector:
    """An OTLP collector: keeps the spans it is sent."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        self._server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("opentelemetry.proto.collector.trace.v1.TraceService", {"Export": handler})]
        )
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _export(self, raw: bytes, context: Any) -> bytes:
        for resource in message_class("ExportTraceServiceRequest").FromString(raw).resource_spans:
            names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            self.spans += [(names["service.name"], span) for scope in resource.scope_spans for span in scope.spans]
        return b""

    def stop(self) -> None:
        self._server.stop(None)


@pytest.fixture
def collector() -> Iterator[Collector]:
    started = Collector()
    yield started
    started.stop()


def test_one_request_through_two_servers_is_one_trace(
    serve: Callable[..., Any], collector: Collector, echo: Any, echo_grpc: Any, pb: Any, bearer: Any, connect: Any
) -> None:
    settings = {"otlp_endpoint": collector.endpoint}
    back = serve(component="back", settings=settings)
    channel = open_channel(back.address)
    metadata = bearer()

    class Front(type(echo)):  # type: ignore[misc]
        def Echo(self, request: Any, context: Any) -> Any:
            return echo_grpc.EchoServiceStub(channel).Echo(request, metadata=metadata)

    from servers.runtime.server import Registration

    front = serve(component="front", settings=settings, servicers=[Registration(echo_grpc.add_EchoServiceServicer_to_server, Front())])
    connect(front.address).Echo(pb.EchoRequest(text="a"), metadata=[*metadata, TRACEPARENT])
    front.stop()
    back.stop()
    channel.close()
    eventually(lambda: len(collector.spans) == 4)

    by_name = {(service, span.name): span for service, span in collector.spans}
    at_front = by_name["front", "mlmesh_test.v1.EchoService/Echo"]
    calling = by_name["front", "call mlmesh_test.v1.EchoService/Echo"]
    at_back = by_name["back", "mlmesh_test.v1.EchoService/Echo"]
    working = by_name["back", "echo.work"]
    assert {span.trace_id.hex() for _, span in collector.spans} == {TRACE}
    assert [span.parent_span_id.hex() for span in (at_front, calling, at_back, working)] == [
        PARENT,
        at_front.span_id.hex(),
        calling.span_id.hex(),
        at_back.span_id.hex(),
    ]
    assert at_back.start_time_unix_nano < at_back.end_time_unix_nano
    assert {pair.key: pair.value.int_value for pair in working.attributes} == {"size": 1}


def test_a_bug_makes_a_failed_span_and_a_wrong_request_does_not(
    serve: Callable[..., Any], collector: Collector, pb: Any, bearer: Any, connect: Any
) -> None:
    server = serve(settings={"otlp_endpoint": collector.endpoint})
    stub = connect(server.address)
    refused(lambda: stub.Echo(pb.EchoRequest(fail="bug"), metadata=bearer()))
    refused(lambda: stub.Echo(pb.EchoRequest(fail="not_found"), metadata=bearer()))
    server.stop()
    spans = [span for _, span in collector.spans]

    assert [span.status.code for span in spans] == [2, 0]
    codes = [{pair.key: pair.value.int_value for pair in span.attributes}["rpc.grpc.status_code"] for span in spans]
    assert codes == [grpc.StatusCode.INTERNAL.value[0], grpc.StatusCode.NOT_FOUND.value[0]]


def test_a_caller_that_does_not_sample_is_not_recorded(serve: Callable[..., Any], tmp_path: Path, pb: Any, connect: Any) -> None:
    server = serve(settings={"trace_file": tmp_path / "traces/echo.jsonl"})
    stub = connect(server.address)
    stub.Ping(pb.PingRequest(), metadata=[("traceparent", f"00-{TRACE}-{PARENT}-00")])
    stub.Ping(pb.PingRequest(), metadata=[TRACEPARENT])
    server.stop()

    (line,) = (tmp_path / "traces/echo.jsonl").read_text().splitlines()
    span = json.loads(line)
    assert (span["component"], span["trace_id"], span["parent_span_id"]) == ("echo", TRACE, PARENT)
    assert span["duration_ms"] > 0


def test_traces_that_nobody_collects_cost_no_call(serve: Callable[..., Any], pb: Any, connect: Any) -> None:
    server = serve(settings={"otlp_endpoint": "http://127.0.0.1:1"})

    connect(server.address).Ping(pb.PingRequest())

    server.stop()


@pytest.fixture
def metrics_of(bearer: Any) -> Callable[[Any], dict[tuple[str, ...], float]]:
    def read(server: Any) -> dict[tuple[str, ...], float]:
        with grpc.insecure_channel(server.address) as channel:
            request = component_service_pb2.GetComponentMetricsRequest()
            text = ComponentServiceStub(channel).GetComponentMetrics(request, metadata=bearer()).text
        return {
            (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    return read


def test_calls_are_counted_by_method_and_code(serve: Callable[..., Any], pb: Any, bearer: Any, connect: Any, metrics_of: Any) -> None:
    server = serve()
    stub = connect(server.address)
    for _ in range(3):
        stub.Echo(pb.EchoRequest(), metadata=bearer())
    refused(lambda: stub.Echo(pb.EchoRequest(fail="not_found"), metadata=bearer()))
    refused(lambda: stub.Echo(pb.EchoRequest()))

    metrics = metrics_of(server)
    method = ("component=echo", "grpc_method=Echo", "grpc_service=mlmesh_test.v1.EchoService", "grpc_type=unary")

    def handled(code: str) -> float:
        return metrics["grpc_server_handled_total", "component=echo", f"grpc_code={code}", *method[1:]]

    assert (handled("OK"), handled("NOT_FOUND"), handled("UNAUTHENTICATED")) == (3, 1, 1)
    assert metrics["grpc_server_handling_seconds_count", *method] == 5
    assert metrics["grpc_server_in_flight", *method] == 0
    assert metrics["process_resident_memory_bytes", "component=echo"] > 0


def test_two_servers_in_one_process_count_apart(serve: Callable[..., Any], pb: Any, connect: Any, metrics_of: Any) -> None:
    one, two = serve(component="one"), serve(component="two")
    connect(one.address).Ping(pb.PingRequest())

    counted = [
        name
        for server in (one, two)
        for name in metrics_of(server)
        if name[0] == "grpc_server_handled_total" and "grpc_method=Ping" in name
    ]

    assert [name[1] for name in counted] == ["component=one", "component=two"]
    assert [metrics_of(server)[name] for server, name in zip((one, two), counted, strict=True)] == [1, 0]


def test_a_components_own_metrics_are_rendered_beside_those_of_the_runtime(serve: Callable[..., Any], metrics_of: Any) -> None:
    registry = CollectorRegistry()
    Counter("predictions", "Predictions answered.", registry=registry).inc(7)

    assert metrics_of(serve(metrics=registry))["predictions_total", "component=echo"] == 7


def test_metrics_need_a_permission(serve: Callable[..., Any], bearer: Any) -> None:
    with grpc.insecure_channel(serve().address) as channel:
        stub = ComponentServiceStub(channel)
        refusal = refused(
            lambda: stub.GetComponentMetrics(component_service_pb2.GetComponentMetricsRequest(), metadata=bearer({"default": ["test.*"]}))
        )

    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED


def test_a_log_line_inside_a_call_carries_its_trace_and_request(serve: Callable[..., Any], pb: Any, bearer: Any, connect: Any) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger("servers").addHandler(handler)
    try:
        stub = connect(serve().address)
        metadata = [*bearer(), TRACEPARENT, ("x-request-id", "req-7")]
        refused(lambda: stub.Echo(pb.EchoRequest(fail="bug"), metadata=metadata))
        (line,) = [json.loads(line) for line in stream.getvalue().splitlines() if "exception" in line]
    finally:
        logging.getLogger("servers").removeHandler(handler)

    assert (line["level"], line["trace_id"], line["request_id"]) == ("ERROR", TRACE, "req-7")
    assert "RuntimeError" in line["exception"]


def test_a_stream_whose_caller_leaves_is_counted_as_cancelled(
    serve: Callable[..., Any], pb: Any, bearer: Any, connect: Any, metrics_of: Any
) -> None:
    server = serve()
    responses = connect(server.address).EchoMany(pb.EchoRequest(text="endless"), metadata=bearer())
    next(responses)
    responses.cancel()

    name = (
        "grpc_server_handled_total",
        "component=echo",
        "grpc_code=CANCELLED",
        "grpc_method=EchoMany",
        "grpc_service=mlmesh_test.v1.EchoService",
        "grpc_type=server_stream",
    )
    eventually(lambda: metrics_of(server).get(name) == 1)
