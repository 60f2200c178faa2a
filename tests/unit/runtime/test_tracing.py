from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servers.runtime.otlp import export_request, message_class
from servers.runtime.tracing import (
    PropagatingTracer,
    TraceContext,
    current_trace,
    enter_span,
    outgoing_metadata,
    parse_traceparent,
    span,
)

hex_digits = st.sampled_from("0123456789abcdef")
contexts = st.builds(
    TraceContext,
    trace_id=st.text(hex_digits, min_size=32, max_size=32).filter(lambda text: set(text) != {"0"}),
    span_id=st.text(hex_digits, min_size=16, max_size=16).filter(lambda text: set(text) != {"0"}),
    is_sampled=st.booleans(),
    state=st.sampled_from(["", "vendor=1"]),
)


@given(contexts)
def test_a_context_survives_its_journey(context: TraceContext) -> None:
    assert parse_traceparent(context.traceparent(), context.state) == context


@given(st.text(max_size=80))
def test_nonsense_starts_a_new_trace(text: str) -> None:
    parsed = parse_traceparent(text)

    assert parsed is None or re.fullmatch(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.*", text)


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"00-" + TRACE.encode(),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}",
    ],
)
def test_what_the_standard_forbids_is_ignored(header: object) -> None:
    assert parse_traceparent(header) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-01-more") == TraceContext(TRACE, SPAN, is_sampled=True)


def test_spans_nest_and_end() -> None:
    with span("outer") as outer:
        assert current_trace() == outer.context
        with span("inner") as inner:
            assert inner.context.trace_id == outer.context.trace_id
            assert inner.context.span_id != outer.context.span_id
        assert current_trace() == outer.context
    assert current_trace() is None


def test_outside_of_any_span_nothing_is_passed_on() -> None:
    assert outgoing_metadata() == []


def test_the_callers_state_is_passed_on() -> None:
    from contextvars import copy_context

    def inside() -> list[tuple[str, str]]:
        tracer = PropagatingTracer()
        enter_span(tracer, tracer.start("call", "server", TraceContext(TRACE, SPAN, is_sampled=True, state="vendor=1"), {}))
        return outgoing_metadata()

    (parent, state) = copy_context().run(inside)
    assert parent[1].startswith(f"00-{TRACE}-")
    assert parent[1].endswith("-01")
    assert state == ("tracestate", "vendor=1")


def recorded() -> ReadableSpan:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "echo"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("t").start_as_current_span("work", attributes={"text": "a", "count": 0, "share": 0.5, "yes": False}):
        pass
    (span_,) = exporter.get_finished_spans()
    return span_


def test_a_span_encodes_to_otlp_as_an_independent_decoder_reads_it() -> None:
    """`opentelemetry.proto` is whichever of two packages was installed last; field numbers of spans are the same in both."""
    from opentelemetry.proto.trace.v1 import trace_pb2

    finished = recorded()
    request = message_class("ExportTraceServiceRequest").FromString(export_request([finished]))
    ours = request.resource_spans[0].scope_spans[0].spans[0]

    theirs = trace_pb2.Span.FromString(ours.SerializeToString())

    assert theirs.name == "work"
    assert theirs.kind == trace_pb2.Span.SPAN_KIND_INTERNAL
    assert theirs.trace_id == finished.get_span_context().trace_id.to_bytes(16, "big")
    assert (theirs.start_time_unix_nano, theirs.end_time_unix_nano) == (finished.start_time, finished.end_time)
    values = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in theirs.attributes}
    assert values == {"text": "a", "count": 0, "share": 0.5, "yes": False}
    assert request.resource_spans[0].resource.attributes[0].value.string_value == "echo"
