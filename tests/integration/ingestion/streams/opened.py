"""Streams of rows as a caller sees them who knows nothing but the contract."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import orjson
import pyarrow as pa
from google.rpc import error_details_pb2, status_pb2
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import stream_service_pb2 as pb
from mlops.ingestion.v1.stream_service_pb2_grpc import DataStreamServiceStub

from tests.integration.ingestion.server.served import PATIENCE_S, Mesh, ServedIngestion

Rows = bytes | pa.Table | Sequence[Mapping[str, Any]]
_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0))


def ndjson(*rows: Mapping[str, Any]) -> bytes:
    """Rows as NDJSON."""
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def ipc(table: pa.Table) -> bytes:
    """A table as an IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def batch(sequence: int, rows: Rows) -> pb.WriteRowsRequest:
    """A message with rows, in the form that they have."""
    message = pb.RowBatch(sequence=sequence)
    if isinstance(rows, bytes):
        message.ndjson = rows
    elif isinstance(rows, pa.Table):
        message.arrow = ipc(rows)
    else:
        message.rows.CopyFrom(ingestion_pb2.InlineRows())
        for row in rows:
            message.rows.rows.add().update(row)
    return pb.WriteRowsRequest(batch=message)


def reason_of(status: status_pb2.Status) -> str:
    """The reason in a status; empty where there is none."""
    info = error_details_pb2.ErrorInfo()
    return info.reason if any(detail.Unpack(info) for detail in status.details) else ""


def facts_of(status: status_pb2.Status) -> dict[str, str]:
    """The facts for programs in a status."""
    info = error_details_pb2.ErrorInfo()
    return dict(info.metadata) if any(detail.Unpack(info) for detail in status.details) else {}


class OpenStream:
    """One stream.

    Args:
        stub: Of the service.
        metadata: Of the call.
    """

    def __init__(self, stub: Any, metadata: Any) -> None:
        self._requests: queue.SimpleQueue[pb.WriteRowsRequest | None] = queue.SimpleQueue()
        self.call = stub.WriteRows(iter(self._requests.get, None), metadata=metadata, timeout=PATIENCE_S)

    def send(self, *requests: pb.WriteRowsRequest) -> None:
        """Sends messages."""
        for request in requests:
            self._requests.put(request)

    def done_sending(self) -> None:
        """Says that no more come."""
        self._requests.put(None)

    def unsent_count(self) -> int:
        """Messages that gRPC has not taken yet."""
        return self._requests.qsize()

    def position(self) -> int:
        """What the first answer says."""
        answer = next(self.call)
        assert answer.HasField("position"), answer
        return int(answer.position.last_sequence)

    def acknowledgement(self) -> pb.BatchAcknowledgement:
        """What the next answer says."""
        answer = next(self.call)
        assert answer.HasField("acknowledgement"), answer
        acknowledged: pb.BatchAcknowledgement = answer.acknowledgement
        return acknowledged

    def acknowledgements(self, count: int) -> list[pb.BatchAcknowledgement]:
        """What so many answers say."""
        return [self.acknowledgement() for _ in range(count)]

    def end(self) -> status_pb2.Status:
        """What the last answer says; the call's own status has to be the same."""
        answer = next(self.call)
        assert answer.HasField("end"), answer
        with suppress(grpc.RpcError):
            assert next(self.call, None) is None
        assert self.call.code().value[0] == answer.end.status.code
        status: status_pb2.Status = answer.end.status
        return status


class Streams:
    """Opens streams to a server.

    Args:
        address: Where it is.
        metadata: Of the calls.
    """

    def __init__(self, channel: grpc.Channel, metadata: Any) -> None:
        self._stub = DataStreamServiceStub(channel)
        self._metadata = metadata

    def raw(self) -> OpenStream:
        """A stream on which nothing was said."""
        return OpenStream(self._stub, self._metadata)

    def open(self, dataset: str, producer: str = "sensor-1", *, project: str = "", **target: Any) -> OpenStream:
        """A stream whose target is said."""
        stream = self.raw()
        stream.send(pb.WriteRowsRequest(project=project, target=pb.StreamTarget(dataset=dataset, producer=producer, **target)))
        return stream

    def write(self, dataset: str, rows: Sequence[Rows], producer: str = "sensor-1", **target: Any) -> list[pb.BatchAcknowledgement]:
        """Writes batches from where the producer stands, and ends the stream."""
        stream = self.open(dataset, producer, **target)
        last = stream.position()
        stream.send(*(batch(sequence, each) for sequence, each in enumerate(rows, start=last + 1)))
        stream.done_sending()
        acknowledged = stream.acknowledgements(len(rows))
        assert stream.end().code == 0
        return acknowledged


@contextmanager
def streams_of(server: ServedIngestion, mesh: Mesh, **grants: Any) -> Iterator[Streams]:
    """Opens streams to a server, as long as the block runs."""
    with grpc.insecure_channel(server.server.address, options=_OPTIONS) as channel:
        yield Streams(channel, mesh.issuer.bearer(**grants))


def stream_threads() -> list[threading.Thread]:
    """Threads of this process that read streams."""
    return [thread for thread in threading.enumerate() if thread.name == "stream-of-rows"]
