"""Records each call of an audited method: its beginning, its outcome, and denied attempts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import grpc

from servers.runtime.audit_events import UNWRITTEN, WRITTEN, AuditEvent, AuditSink, Beginning
from servers.runtime.calls import Behaviour, Call, Method, checking, guarded
from servers.runtime.errors import PermissionDenied
from servers.runtime.resources import resource_reader
from servers.runtime.statuses import reason_of, status_of
from servers.runtime.tracing import current_trace


class AuditInterceptor:
    """Tells a sink about audited calls.

    Args:
        sink: Takes the events.
        clock: The time now.
        make_id: Makes identifiers of events.
    """

    def __init__(
        self,
        sink: AuditSink,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        make_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._make_id = make_id
        self._readers: dict[str, Callable[[Any], str]] = {}

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour that cannot run unseen."""
        if not method.policy.audited:
            return inner
        read_request, read_response = resource_reader(method.request_class), resource_reader(method.response_class)
        self._readers[method.path] = read_request

        def note_resource(request: Any, call: Call) -> None:
            call.resource = call.resource or read_request(request)

        def naming_created(request: Any, call: Call) -> Any:
            response = inner(request, call)
            # Where the server chose the name, only the answer has it.
            call.resource = call.resource or read_response(response)
            return response

        named = inner if method.response_streaming else naming_created
        return checking(method, guarded(method, named, self._recorded), note_resource)

    def denied(self, call: Call, error: PermissionDenied, request: Any | None) -> None:
        """Records an attempt without permission."""
        if not call.method.policy.audited:
            return
        if request is not None:
            call.resource = self._readers[call.method.path](request)
        self._sink.finish(replace(self._event(call), status_code=error.code.value[0], reason=error.reason), is_begun=False)

    @contextmanager
    def _recorded(self, call: Call) -> Iterator[None]:
        event = self._event(call)
        beginning = UNWRITTEN
        code, reason = 0, ""
        try:
            with self._begun(event, call.method) as beginning:
                yield
        except GeneratorExit:
            code = grpc.StatusCode.CANCELLED.value[0]
            raise
        except Exception as error:
            status = status_of(error, call.request_id)
            code, reason = status.code, reason_of(status)
            raise
        finally:
            # A repeat has no effect of its own; the first request is on record.
            if not call.is_repeat:
                ended = replace(event, project=call.project, resource=call.resource, status_code=code, reason=reason)
                self._sink.finish(ended, is_begun=beginning.is_written)

    def _begun(self, event: AuditEvent, method: Method) -> AbstractContextManager[Beginning]:
        if method.request_streaming or method.response_streaming:
            # A stream may run for hours, and have its effect long before it writes to the database.
            self._sink.begin(event)
            return nullcontext(WRITTEN)
        return self._sink.begin_with_effect(event)

    def _event(self, call: Call) -> AuditEvent:
        trace = current_trace()
        return AuditEvent(
            event_id=self._make_id(),
            event_time=self._clock(),
            subject=call.principal.subject,
            method=call.method.path,
            project=call.project,
            resource=call.resource,
            request_id=call.request_id,
            trace_id=trace.trace_id if trace is not None else "",
        )
