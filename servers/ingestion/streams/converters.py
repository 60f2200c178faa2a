"""Between the contract of streams of rows and what the domain takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlops.ingestion.v1 import stream_service_pb2 as pb

from servers.ingestion.converters import contract_from_proto, mode_from_proto, rejected_to_proto, rows_from_proto
from servers.ingestion.streams.errors import StreamMisused
from servers.ingestion.streams.incoming import GivenBatch, Opened
from servers.ingestion.streams.target import Target
from servers.ingestion.streams.writing import Position
from servers.runtime.calls import DEFAULT_PROJECT


def opened_from_proto(requests: Iterator[pb.WriteRowsRequest]) -> Opened:
    """Waits for the first message, which says where the batches go.

    Args:
        requests: The messages of the stream.

    Returns:
        Where they go, and the batches as they come.

    Raises:
        StreamMisused: INVALID_ARGUMENT: the messages come in another order, or change the project.
    """
    first = next(requests, None)
    if first is None or not first.HasField("target"):
        raise StreamMisused("the first message of a stream has `target`, which says where its batches go")
    target = _target(first)
    return target, _batches(requests, target.project)


def answer_to_proto(answer: Position | Mapping[str, Any]) -> pb.WriteRowsResponse:
    """Gives where a producer stands, or what a batch is acknowledged with, as the contract has it."""
    if isinstance(answer, Position):
        return pb.WriteRowsResponse(position=pb.StreamPosition(last_sequence=answer.last_sequence))
    return pb.WriteRowsResponse(
        acknowledgement=pb.BatchAcknowledgement(
            sequence=answer["sequence"],
            version=answer["version"],
            rows_written=answer["rows_written"],
            rows_rejected=answer["rows_rejected"],
            rejected=map(rejected_to_proto, answer["rejected"]),
            was_written_before=answer["was_written_before"],
        )
    )


def _target(request: pb.WriteRowsRequest) -> Target:
    target = request.target
    return Target(
        project=request.project or DEFAULT_PROJECT,
        dataset=target.dataset,
        producer=target.producer,
        mode=mode_from_proto(target.mode),
        keys=tuple(target.keys),
        contract=contract_from_proto(target.schema_contract),
        column_types=dict(target.column_types),
    )


def _batches(requests: Iterator[pb.WriteRowsRequest], project: str) -> Iterator[GivenBatch]:
    for request in requests:
        if not request.HasField("batch"):
            raise StreamMisused("`target` is for the first message of a stream; open another one for another target")
        if request.project not in ("", project):
            raise StreamMisused(f"the project is that of the first message, {project!r}; open another stream for another one")
        batch = request.batch
        match batch.WhichOneof("form"):
            case "arrow":
                yield GivenBatch(batch.sequence, "ARROW", batch.arrow)
            case "ndjson":
                yield GivenBatch(batch.sequence, "NDJSON", batch.ndjson)
            case _:
                yield GivenBatch(batch.sequence, "NDJSON", rows_from_proto(batch.rows))
