"""One REST prediction is one trace, from the gateway to the run of the model, and the access log leads to it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from servers.runtime.otlp import message_class
from tests.integration.runtime.waiting import eventually
from tests.whole_mesh import WholeMesh, save_iris, whole_mesh


class Collector:
    """An OTLP collector: keeps the spans it is sent, with the name of the service that sent each."""

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

    def of_trace(self, trace_id: str) -> list[tuple[str, Any]]:
        return [(service, span) for service, span in self.spans if span.trace_id.hex() == trace_id]

    def stop(self) -> None:
        self._server.stop(None)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    started = Collector()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def traced_mesh(collector: Collector) -> Iterator[WholeMesh]:
    with whole_mesh({"MLMESH_OTLP_ENDPOINT": collector.endpoint}) as running:
        save_iris(running)
        yield running


def test_a_rest_prediction_is_one_trace_and_the_access_log_names_it(traced_mesh: WholeMesh, collector: Collector) -> None:
    trace_id, parent_id = secrets.token_hex(16), secrets.token_hex(8)
    response = traced_mesh.request(
        "POST",
        "/api/v1/models/iris/predict",
        json={"instances": [[5.1, 3.5, 1.4, 0.2]]},
        headers={"traceparent": f"00-{trace_id}-{parent_id}-01"},
    )
    assert response.status_code == 200

    def services_of_chain() -> set[str]:
        """From the model's run up to the caller; empty while a span of them is missing, since each process sends its own when it likes."""
        spans = {span.span_id: (service, span) for service, span in collector.of_trace(trace_id)}
        found, at = set(), next((one for one in spans.values() if one[1].name == "onnxruntime.run"), None)
        while at is not None:
            found.add(at[0])
            if at[1].parent_span_id.hex() == parent_id:
                return found
            at = spans.get(at[1].parent_span_id)
        return set()

    services = eventually(services_of_chain, timeout_s=60)
    assert len(services) >= 2

    def lines() -> list[str]:
        """Whole ones: Envoy may be in the middle of the last."""
        return [line for line in traced_mesh.logs("envoy").rpartition("\n")[0].splitlines() if trace_id in line]

    entry = json.loads(eventually(lines, timeout_s=60)[0])
    assert entry["trace_id"] == trace_id
    assert entry["path"].startswith("/api/v1/models/iris/predict") or "Predict" in entry["path"]
