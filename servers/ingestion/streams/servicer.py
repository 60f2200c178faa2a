"""The contract of streams of rows: convert, call, convert."""

# ruff: noqa: D102 - method names and their documentation are the contract's

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlops.ingestion.v1 import stream_service_pb2 as pb
from mlops.ingestion.v1.stream_service_pb2_grpc import DataStreamServiceServicer

from servers.ingestion.streams import converters
from servers.ingestion.streams.writing import Caller, RowStreams
from servers.runtime.calls import current_call
from servers.runtime.streams import with_end


class StreamServicer(DataStreamServiceServicer):
    """Serves `mlops.ingestion.v1.DataStreamService`.

    Args:
        streams: Writes rows.
    """

    def __init__(self, streams: RowStreams) -> None:
        self._streams = streams

    def WriteRows(self, request_iterator: Iterator[pb.WriteRowsRequest], context: Any) -> Iterator[pb.WriteRowsResponse]:
        call = current_call()
        caller = Caller(has_left=lambda: not call.context.is_active(), is_stopping=call.stopping.is_set)
        answers = self._streams.answers(lambda: converters.opened_from_proto(request_iterator), caller)
        return with_end(map(converters.answer_to_proto, answers), pb.WriteRowsResponse)
