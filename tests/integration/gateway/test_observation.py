"""What an operator sees: the access log, traces, statistics, and nothing secret in any of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import generate_latest

from gateway.metrics import envoy_metrics
from tests.integration.gateway.collector import Collector
from tests.integration.gateway.mesh_in_memory import GET_MODEL, GatewayUnderTest, bearer, short_folder, wait_until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def test_a_line_of_the_access_log_says_who_asked_what_and_how_it_went(gateway: GatewayUnderTest) -> None:
    response = gateway.client.get("/api/v1/models/m?project=p", headers={**gateway.auth, "user-agent": "tests"})

    line = gateway.log_line(response)
    assert {key: line[key] for key in ("method", "path", "status", "grpc_status", "subject", "peer", "user_agent")} == {
        "method": "GET",
        "path": "/api/v1/models/m",
        "status": 200,
        "grpc_status": "OK",
        "subject": "ada",
        "peer": "127.0.0.1",
        "user_agent": "tests",
    }
    assert line["route"] == GET_MODEL.removeprefix("/")
    assert line["rate_class"] == "READ"
    assert line["upstream_cluster"] == ("registry-lane" if gateway.has_lanes else "registry")
    assert isinstance(line["duration_ms"], int)


def test_the_access_log_the_server_and_the_caller_mean_one_trace(gateway: GatewayUnderTest) -> None:
    headers = {**gateway.auth, "traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}

    response = gateway.client.get("/api/v1/models/m", headers=headers)

    (call,) = gateway.components["registry"].calls(GET_MODEL)
    version, trace, span, _ = call.metadata["traceparent"].split("-")
    line = gateway.log_line(response)
    assert (version, trace) == ("00", TRACE)
    assert span not in (PARENT, "0" * 16)
    assert (line["trace_id"], line["span_id"]) == (TRACE, span)
    assert call.metadata["tracestate"] == "vendor=1"
    assert call.metadata["x-request-id"] == response.headers["x-request-id"]


def test_a_caller_without_a_trace_begins_one(gateway: GatewayUnderTest) -> None:
    response = gateway.client.get("/api/v1/models/m", headers=gateway.auth)

    (call,) = gateway.components["registry"].calls(GET_MODEL)
    line = gateway.log_line(response)
    assert call.metadata["traceparent"].split("-")[1] == line["trace_id"] != "0" * 32


def test_no_token_key_nor_query_is_written_anywhere(gateway: GatewayUnderTest) -> None:
    token = gateway.keys.token("ada")
    secrets = ("s3cr3t-in-query", "mlm_s3cr3t_key", token.rpartition(".")[2])

    answers = [
        gateway.client.get("/api/v1/models/m?project=s3cr3t-in-query", headers=bearer(token)),
        gateway.client.get("/api/v1/models/m?access_token=s3cr3t-in-query", headers={"x-api-key": "mlm_s3cr3t_key"}),
        gateway.client.get("/api/v1/models/m", headers=bearer("mlm_s3cr3t_key")),
    ]

    for answer in answers:
        gateway.log_line(answer)
    written = Path(gateway.settings.access_log).read_text() + gateway.envoy.log.read_text()
    assert not [secret for secret in secrets if secret in written]


def test_spans_reach_a_collector_in_the_callers_trace() -> None:
    collector = Collector()
    server, port = collector.start()
    with short_folder() as folder:
        gateway = GatewayUnderTest(folder, otlp_endpoint=f"http://127.0.0.1:{port}")
        try:
            gateway.start()
            headers = {**gateway.auth, "traceparent": f"00-{TRACE}-{PARENT}-01"}
            gateway.client.get("/api/v1/models/m", headers=headers)
            wait_until(lambda: any(span.trace_id.hex() == TRACE for span in collector.spans))

            (span,) = (span for span in collector.spans if span.trace_id.hex() == TRACE)
            (call,) = gateway.components["registry"].calls(GET_MODEL)
            assert span.name == GET_MODEL.removeprefix("/")
            assert span.parent_span_id.hex() == PARENT
            assert call.metadata["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
        finally:
            gateway.stop()
            server.stop(0).wait()


def test_a_share_of_traces_is_recorded_where_the_caller_has_not_decided() -> None:
    collector = Collector()
    server, port = collector.start()
    with short_folder() as folder:
        gateway = GatewayUnderTest(folder, otlp_endpoint=f"http://127.0.0.1:{port}", trace_sample_ratio=0)
        try:
            gateway.start()
            gateway.client.get("/api/v1/models/m", headers=gateway.auth)

            (call,) = gateway.components["registry"].calls(GET_MODEL)
            assert call.metadata["traceparent"].endswith("-00")
        finally:
            gateway.stop()
            server.stop(0).wait()
    assert collector.spans == []


@pytest.mark.parametrize("name", ["envoy_http_downstream_rq_completed", "envoy_cluster_upstream_rq_total"])
def test_statistics_of_envoy_are_among_the_metrics_of_the_gateway(gateway: GatewayUnderTest, name: str) -> None:
    gateway.client.get("/api/v1/models/m", headers=gateway.auth)

    assert name in generate_latest(envoy_metrics(gateway.envoy.admin)).decode()


def test_the_admin_interface_is_no_port(gateway: GatewayUnderTest) -> None:
    assert gateway.settings.admin_socket.is_socket()
    assert gateway.settings.admin_socket.stat().st_mode & 0o077 == 0
    addresses = [
        listener["active_state"]["listener"]["address"]
        for config in gateway.envoy.admin.config_dump()["configs"]
        for listener in config.get("dynamic_listeners", [])
    ]
    assert [list(address) for address in addresses] == [["socket_address"]]
