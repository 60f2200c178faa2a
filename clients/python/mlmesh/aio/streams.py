"""Streams of rows: written as they come, each batch once, whatever breaks off in between."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from mlops.ingestion.v1 import ingestion_pb2, stream_service_pb2, stream_service_pb2_grpc

from mlmesh.aio.blocking import Lock, Queue, next_of, pause, run_blocking
from mlmesh.aio.calls import Caller
from mlmesh.errors import Cancelled, FailedPrecondition, Internal, MeshError, Unavailable, Unknown
from mlmesh.fields import enum_value
from mlmesh.ingestion_options import SchemaContract
from mlmesh.patience import Patience
from mlmesh.row_batches import Acknowledgement, Rows, acknowledgement_value, batch_message
from mlmesh.statuses import error_of_call, error_of_status


class StreamsClient:
    """Writes rows into datasets as they come.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub = stream_service_pb2_grpc.DataStreamServiceStub(channel)
        self._caller = caller

    def write_rows(
        self,
        dataset: str,
        *,
        producer: str,
        mode: str = "append",
        keys: Sequence[str] = (),
        schema_contract: SchemaContract | None = None,
        column_types: Mapping[str, str] | None = None,
        max_in_flight: int = 16,
        on_acknowledged: Callable[[Acknowledgement], object] | None = None,
        project: str = "",
        timeout_s: float = 60.0,
    ) -> RowStream:
        """Writes batches of rows, each once.

        ```python
        with mesh.streams.write_rows("readings", producer="sensor-17") as stream:
            for rows in batches[stream.position :]:     # after a restart: goes on with what is not in the dataset
                stream.send(rows)
        ```

        Batches travel while others are being written, and those that arrive meanwhile are written together. A connection that breaks off is
        made again, and what was not acknowledged is sent again; the mesh writes it once. Leaving the block waits for all.

        Args:
            dataset: Name of the dataset, which is made where there is none.
            producer: Who sends: 1 to 127 letters, digits, `.`, `_`, `:` and `-`. One program at a time; of two the newer one goes on, and
                the older one gets `FailedPrecondition`.
            mode: `append`, or `upsert`, which replaces rows that have the same keys.
            keys: Columns that tell rows apart; for `upsert`.
            schema_contract: What may change of the dataset; None = whatever loses nothing.
            column_types: Types of columns as Arrow writes them, instead of those found out: `{"zip": "string"}`.
            max_in_flight: Most batches that are not acknowledged; `send` waits for the oldest one then. They are kept until they are.
            on_acknowledged: Called with each acknowledgement, in order, by whichever call waits for it.
            project: Project; empty = `default`.
            timeout_s: Longest time in which the mesh cannot be reached and no batch gets through, in seconds.

        Returns:
            The stream, to be used in a `with`.

        Raises:
            mlmesh.errors.InvalidArgument: There is no such mode.
        """
        target = stream_service_pb2.StreamTarget(
            dataset=dataset,
            producer=producer,
            mode=enum_value(ingestion_pb2.WriteMode, mode),
            keys=keys,
            schema_contract=schema_contract.message() if schema_contract is not None else None,
            column_types=column_types or {},
        )
        first = stream_service_pb2.WriteRowsRequest(project=project, target=target)
        return RowStream(self._stub, self._caller, first, max(1, max_in_flight), on_acknowledged, timeout_s)


class RowStream:
    """A stream of batches into one dataset. Made by `write_rows`; several tasks or threads may share it.

    Every method raises `MeshError` once the stream is over: a batch that cannot be written ends it, after those before it are written.

    Args:
        stub: Of the service.
        caller: Makes the calls.
        first: The first message, with the target.
        max_in_flight: Most batches that are not acknowledged.
        on_acknowledged: Called with each acknowledgement.
        timeout_s: Longest time without the mesh, in seconds.
    """

    def __init__(
        self,
        stub: stream_service_pb2_grpc.DataStreamServiceStub,
        caller: Caller,
        first: stream_service_pb2.WriteRowsRequest,
        max_in_flight: int,
        on_acknowledged: Callable[[Acknowledgement], object] | None,
        timeout_s: float,
    ) -> None:
        self._stub: Any = stub
        self._caller = caller
        self._first = first
        self._max_in_flight = max_in_flight
        self._on_acknowledged = on_acknowledged
        self._timeout_s = timeout_s
        self._lock = Lock()
        self._in_flight: deque[stream_service_pb2.WriteRowsRequest] = deque()
        self._acknowledged: int | None = None
        self._next = 1
        self._connection: _Connection | None = None
        self._failure: MeshError | None = None

    @property
    def position(self) -> int:
        """Number of the last batch that is known to be in the dataset, 0 where there is none: so many need not be sent again."""
        return self._acknowledged or 0

    async def send(self, rows: Rows) -> int:
        """Sends a batch. Waits only where too many are not acknowledged yet; leaving the block, `flush` and `write` wait for them.

        Args:
            rows: Mappings by column; bytes of NDJSON; or a table of Arrow, pandas or Polars. At most 4 MiB as they travel.

        Returns:
            The number of the batch.

        Raises:
            mlmesh.errors.InvalidArgument: The rows cannot be sent, and the stream goes on; or a batch before them cannot be written.
        """
        message = await run_blocking(batch_message, rows)
        async with self._lock:
            return await self._send(message)

    async def write(self, rows: Rows) -> Acknowledgement:
        """Sends a batch and waits until it is in the dataset.

        Args:
            rows: As for `send`.
        """
        message = await run_blocking(batch_message, rows)
        async with self._lock:
            sequence = await self._send(message)
            while True:
                acknowledgement = await self._receive()
                if acknowledgement.sequence == sequence:
                    return acknowledgement

    async def flush(self) -> None:
        """Waits until all batches that were sent are in the dataset."""
        async with self._lock:
            while self._in_flight:
                await self._receive()

    async def __aenter__(self) -> Self:
        """Connects, and learns the position.

        Raises:
            mlmesh.errors.MeshError: The mesh cannot be reached, or does not take the target.
        """
        async with self._lock:
            patience = Patience(self._timeout_s)
            while self._connection is None:
                try:
                    await self._connect()
                except MeshError as error:
                    await self._wait_or_fail(error, patience)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Waits until all batches are in the dataset, unless an exception is on its way; then ends the stream."""
        try:
            if kind is None:
                await self.flush()
                await self._end()
        finally:
            self._disconnect()

    async def _send(self, message: stream_service_pb2.RowBatch) -> int:
        while len(self._in_flight) >= self._max_in_flight:
            await self._receive()
        if self._failure is not None:
            raise self._failure
        message.sequence = self._next
        self._next += 1
        request = stream_service_pb2.WriteRowsRequest(batch=message)
        self._in_flight.append(request)
        if self._connection is not None:
            self._connection.put(request)
        return message.sequence

    async def _receive(self) -> Acknowledgement:
        """Returns the acknowledgement of the oldest batch that has none yet; connects again as often as needed."""
        if self._failure is not None:
            raise self._failure
        patience: Patience | None = None
        while True:
            try:
                if self._connection is None:
                    await self._connect()
                acknowledgement = acknowledgement_value((await self._answer()).acknowledgement)
                if acknowledgement.sequence != self._in_flight[0].batch.sequence:
                    raise Unavailable("the mesh acknowledged another batch than the next one", reason="STREAM_BROKEN_OFF")
            except MeshError as error:
                patience = patience or Patience(self._timeout_s)
                await self._wait_or_fail(error, patience)
                continue
            self._in_flight.popleft()
            self._acknowledged = acknowledgement.sequence
            if self._on_acknowledged is not None:
                self._on_acknowledged(acknowledgement)
            return acknowledgement

    async def _connect(self) -> None:
        metadata, _ = await self._caller.terms(stream_service_pb2.WriteRowsRequest, None)
        self._connection = _Connection(self._stub, metadata)
        self._connection.put(self._first)
        last = (await self._answer()).position.last_sequence
        if self._acknowledged is None:
            self._acknowledged = last
            self._next = last + 1
        elif last < self._acknowledged:
            raise FailedPrecondition(
                f"the dataset has {last} batches of this producer, and {self._acknowledged} were acknowledged: it was deleted meanwhile",
                reason="STREAM_POSITION_LOST",
                hint="open another stream, whose position says where to begin",
            )
        elif last >= self._next:
            raise FailedPrecondition(
                f"the dataset has {last} batches of this producer, and this stream sent {self._next - 1}",
                reason="STREAM_TAKEN_OVER",
                hint="give each program that sends a producer of its own",
            )
        for request in self._in_flight:
            self._connection.put(request)

    async def _answer(self) -> stream_service_pb2.WriteRowsResponse:
        """Returns the next message, which is no end."""
        connection = self._connection
        if connection is None:
            raise Unavailable("the stream broke off", reason="STREAM_BROKEN_OFF")
        try:
            answer = await next_of(connection.answers)
        except grpc.RpcError as error:
            raise error_of_call(error) from error
        except BaseException:
            # Whoever waited was cancelled, and gRPC cancels the call with it.
            self._disconnect()
            raise
        if answer is None:
            raise Unavailable("the stream broke off", reason="STREAM_BROKEN_OFF")
        if answer.HasField("end"):
            if answer.end.status.code:
                raise error_of_status(answer.end.status)
            raise Unavailable("the stream was ended by the mesh", reason="STREAM_BROKEN_OFF")
        return answer

    async def _wait_or_fail(self, error: MeshError, patience: Patience) -> None:
        self._disconnect()
        pause_s = patience.next_pause_s()
        if not _may_pass(error) or pause_s is None:
            self._failure = error
            raise error
        await pause(max(pause_s, error.retry_after_s or 0.0))

    async def _end(self) -> None:
        """Ends the stream in the contract's way. All is acknowledged, so nothing that fails here matters."""
        if self._connection is not None:
            self._connection.put(None)
            with suppress(MeshError):
                await self._answer()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Connection:
    """One call.

    Args:
        stub: Of the service.
        metadata: Of the call.
    """

    def __init__(self, stub: Any, metadata: Any) -> None:
        self._requests: Queue[stream_service_pb2.WriteRowsRequest | None] = Queue()
        self._call = stub.WriteRows(self._outgoing(), metadata=metadata)
        self.answers: AsyncIterator[stream_service_pb2.WriteRowsResponse] = self._call.__aiter__()

    def put(self, request: stream_service_pb2.WriteRowsRequest | None) -> None:
        """Sends a message; None says that no more come."""
        self._requests.put_nowait(request)

    def close(self) -> None:
        """Gives the call up."""
        self._requests.put_nowait(None)
        self._call.cancel()

    async def _outgoing(self) -> AsyncIterator[stream_service_pb2.WriteRowsRequest]:
        while (request := await self._requests.get()) is not None:
            yield request


def _may_pass(error: MeshError) -> bool:
    """Whether another attempt may succeed: the mesh says so, or it is no error of the mesh but of the way to it."""
    is_of_the_way = not error.reason and isinstance(error, Cancelled | Internal | Unknown)
    return isinstance(error, Unavailable) or error.retry_after_s is not None or is_of_the_way
