"""What is said on a stream, and what becomes of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.rpc import code_pb2
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as service_pb
from mlops.ingestion.v1 import stream_service_pb2 as pb

from tests.integration.ingestion.server.places import rows_of
from tests.integration.ingestion.server.served import Mesh, ServedIngestion
from tests.integration.ingestion.streams.opened import Streams, batch, facts_of, ndjson, reason_of, streams_of
from tests.integration.runtime.rich_errors import refused

FREEZE = ingestion_pb2.CONTRACT_MODE_FREEZE
DISCARD_ROW = ingestion_pb2.CONTRACT_MODE_DISCARD_ROW


@pytest.fixture(scope="module")
def streams(server: ServedIngestion, mesh: Mesh) -> Iterator[Streams]:
    with streams_of(server, mesh) as opened:
        yield opened


@pytest.fixture
def dataset(server: ServedIngestion) -> str:
    return server.new_dataset()


def rows(server: ServedIngestion, dataset: str, by: str = "id") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows_of(server.place.table(dataset)).sort_by(by).to_pylist()
    return found


def test_batches_of_every_form_are_acknowledged_in_order_and_are_in_the_dataset_then(
    server: ServedIngestion, streams: Streams, dataset: str
) -> None:
    stream = streams.open(dataset)
    assert stream.position() == 0
    stream.send(batch(1, [{"id": 1, "name": "Zoë 鹿"}]))
    first = stream.acknowledgement()
    known = server.stub.GetDataset(service_pb.GetDatasetRequest(name=dataset))
    assert (first.sequence, first.version, first.rows_written, first.was_written_before) == (1, known.version, 1, False)
    assert known.row_count == 1

    stream.send(batch(2, ndjson({"id": 2, "name": None}, {"id": 3})), batch(3, pa.table({"name": ["x"], "id": [4]})))
    stream.done_sending()
    assert [(each.sequence, each.rows_written) for each in stream.acknowledgements(2)] == [(2, 2), (3, 1)]
    assert stream.end().code == code_pb2.OK
    assert [row["id"] for row in rows(server, dataset)] == [1, 2, 3, 4]
    assert rows(server, dataset)[0]["name"] == "Zoë 鹿"
    assert server.stub.GetDataset(service_pb.GetDatasetRequest(name=dataset)).row_count == 4


def test_a_producer_learns_where_it_stands_and_a_repeat_is_written_once(server: ServedIngestion, streams: Streams, dataset: str) -> None:
    streams.write(dataset, [ndjson({"id": number}) for number in range(3)])
    stream = streams.open(dataset)
    assert stream.position() == 3
    stream.send(batch(2, ndjson({"id": 1})), batch(3, ndjson({"id": 2})), batch(4, ndjson({"id": 3})), batch(4, ndjson({"id": 3})))
    stream.done_sending()
    acknowledged = stream.acknowledgements(4)
    assert [(each.sequence, each.was_written_before, each.rows_written) for each in acknowledged] == [
        (2, True, 0),
        (3, True, 0),
        (4, False, 1),
        (4, True, 0),
    ]
    assert stream.end().code == code_pb2.OK
    assert [row["id"] for row in rows(server, dataset)] == [0, 1, 2, 3]


def test_producers_and_datasets_count_for_themselves(server: ServedIngestion, streams: Streams, dataset: str) -> None:
    other = server.new_dataset()
    streams.write(dataset, [ndjson({"id": 1}), ndjson({"id": 2})], producer="a")
    streams.write(dataset, [ndjson({"id": 3})], producer="b:7")
    streams.write(other, [ndjson({"id": 4})], producer="a")
    assert [streams.open(dataset, producer).position() for producer in ("a", "b:7", "c")] == [2, 1, 0]
    assert streams.open(other, "a").position() == 1
    assert [row["id"] for row in rows(server, dataset)] == [1, 2, 3]


def test_a_gap_names_the_batch_that_is_expected(server: ServedIngestion, streams: Streams, dataset: str) -> None:
    stream = streams.open(dataset)
    assert stream.position() == 0
    stream.send(batch(1, ndjson({"id": 1})), batch(3, ndjson({"id": 3})))
    assert stream.acknowledgement().sequence == 1
    ended = stream.end()
    assert (ended.code, reason_of(ended)) == (code_pb2.FAILED_PRECONDITION, "SEQUENCE_GAP")
    assert facts_of(ended)["expected_sequence"] == "2"
    assert "batch 3" in ended.message
    assert [row["id"] for row in rows(server, dataset)] == [1]


BAD_BATCHES: dict[str, tuple[pb.WriteRowsRequest, int, str]] = {
    "no JSON": (batch(3, b'{"id": 1}\n{"id": oops}\n'), code_pb2.INVALID_ARGUMENT, "INVALID_JSON"),
    "no object": (batch(3, b"[1, 2]\n"), code_pb2.INVALID_ARGUMENT, "INVALID_JSON"),
    "no text": (batch(3, b'{"id": "\xff\xfe"}\n'), code_pb2.INVALID_ARGUMENT, "INVALID_JSON"),
    "blank": (batch(3, b" \n\n"), code_pb2.INVALID_ARGUMENT, "EMPTY_FILE"),
    "no Arrow": (
        pb.WriteRowsRequest(batch=pb.RowBatch(sequence=3, arrow=b"\xff\xff\xff\xffnonsense")),
        code_pb2.INVALID_ARGUMENT,
        "CORRUPT_FILE",
    ),
    "does not fit": (batch(3, ndjson({"id": "many", "name": "z"})), code_pb2.INVALID_ARGUMENT, "VALUE_DOES_NOT_FIT"),
    "new column": (batch(3, ndjson({"id": 1, "name": "z", "more": 2})), code_pb2.FAILED_PRECONDITION, "SCHEMA_FROZEN"),
    "fewer columns": (batch(3, ndjson({"name": "x"})), code_pb2.FAILED_PRECONDITION, "SCHEMA_FROZEN"),
}


@pytest.mark.parametrize("bad", BAD_BATCHES)
def test_a_bad_batch_ends_the_stream_and_those_before_it_are_written(
    server: ServedIngestion, streams: Streams, dataset: str, bad: str
) -> None:
    request, code, reason = BAD_BATCHES[bad]
    streams.write(dataset, [ndjson({"id": 0, "name": "x"})])
    frozen = ingestion_pb2.SchemaContract(columns=FREEZE, types=FREEZE)
    stream = streams.open(dataset, schema_contract=frozen)
    assert stream.position() == 1
    good = ndjson({"id": 1, "name": "y"})
    stream.send(batch(2, good), request, batch(4, good))
    assert stream.acknowledgement().sequence == 2
    ended = stream.end()
    assert (ended.code, reason_of(ended)) == (code, reason), ended.message
    assert ended.message.startswith("batch 3: ")
    assert facts_of(ended)["sequence"] == "3"
    assert [row["id"] for row in rows(server, dataset)] == [0, 1]
    # It can be corrected.
    assert [each.sequence for each in streams.write(dataset, [good, good])] == [3, 4]
    assert server.scratch_files() == []


def test_rejected_rows_are_those_of_their_batch(server: ServedIngestion, streams: Streams, dataset: str) -> None:
    streams.write(dataset, [ndjson({"id": 0, "v": 0.5})])
    stream = streams.open(dataset, schema_contract=ingestion_pb2.SchemaContract(types=DISCARD_ROW))
    assert stream.position() == 1
    bad, good = {"id": 1, "v": "n/a"}, {"id": 2, "v": "1.5"}
    # All at once, so that they go into few commits.
    stream.send(
        batch(2, ndjson(good, bad, good)),
        batch(3, ndjson(good)),
        batch(4, ndjson(bad)),
        batch(5, ndjson({"id": 3, "v": 7}, {"id": 4, "v": "late"})),
    )
    stream.done_sending()
    told = [(one.sequence, one.rows_written, one.rows_rejected, [row.row for row in one.rejected]) for one in stream.acknowledgements(4)]
    assert told == [(2, 2, 1, [2]), (3, 1, 0, []), (4, 0, 1, [1]), (5, 1, 1, [2])]
    assert stream.end().code == code_pb2.OK
    assert sorted(row["v"] for row in rows(server, dataset)) == [0.5, 1.5, 1.5, 1.5, 7.0]


def test_columns_of_the_dataset_guide_what_a_short_batch_is_taken_for(server: ServedIngestion, streams: Streams, dataset: str) -> None:
    texts = {"id": 0, "ratio": 0.5, "text": "some text", "at": "2026-11-27T12:00:00Z"}
    streams.write(dataset, [ndjson(texts)])
    before = server.place.table(dataset).schema().to_arrow()
    later = [
        {"id": 1, "ratio": 2, "text": "2020-01-01T00:00:00Z", "at": None, "unknown": None},
        {"id": 2.0, "ratio": None, "text": "2020-01-01", "at": "2026-11-27T13:00:00+01:00"},
        {"id": 3, "text": 7},
    ]
    streams.write(dataset, [ndjson(row) for row in later])
    assert server.place.table(dataset).schema().to_arrow() == before
    noon = datetime(2026, 11, 27, 12, tzinfo=UTC)
    assert rows(server, dataset) == [
        {"id": 0, "ratio": 0.5, "text": "some text", "at": noon},
        {"id": 1, "ratio": 2.0, "text": "2020-01-01T00:00:00Z", "at": None},
        {"id": 2, "ratio": None, "text": "2020-01-01", "at": noon},
        {"id": 3, "ratio": None, "text": "7", "at": None},
    ]


def test_types_that_are_stated_count_for_the_batches_that_have_the_column(server: ServedIngestion, streams: Streams, dataset: str) -> None:
    streams.write(
        dataset,
        [ndjson({"id": 1, "zip": 10115}), ndjson({"id": 2}), ndjson({"id": 3, "zip": "00100"}), ndjson({"id": 4, "price": 1.10})],
        column_types={"zip": "string", "price": "decimal128(9, 2)", "id": "int32"},
    )
    found = rows(server, dataset)
    assert [row["zip"] for row in found] == ["10115", None, "00100", None]
    assert str(found[3]["price"]) == "1.10"
    assert server.place.table(dataset).schema().to_arrow().field("id").type == pa.int32()


def test_an_upsert_takes_the_last_row_of_each_key(server: ServedIngestion, streams: Streams, dataset: str) -> None:
    upsert: dict[str, Any] = {"mode": ingestion_pb2.WRITE_MODE_UPSERT, "keys": ["id"]}
    first = [ndjson({"id": 1, "v": 1}, {"id": 2, "v": 1}), ndjson({"id": 1, "v": 2}), ndjson({"id": 3, "v": 3}, {"id": None, "v": 9})]
    acknowledged = streams.write(dataset, first, **upsert)
    assert [(each.rows_written, each.rows_rejected) for each in acknowledged] == [(2, 0), (1, 0), (1, 1)]
    assert acknowledged[2].rejected[0].reason == "KEY_IS_NULL"
    streams.write(dataset, [ndjson({"id": 3, "v": 4})], producer="other", **upsert)
    assert [(row["id"], row["v"]) for row in rows(server, dataset)] == [(1, 2), (2, 1), (3, 4)]


def test_a_batch_without_rows_counts_all_the_same(server: ServedIngestion, streams: Streams, dataset: str) -> None:
    nothing = pa.table({"id": pa.array([], pa.int64())})
    acknowledged = streams.write(dataset, [nothing, ndjson({"id": 1}), nothing])
    assert [each.rows_written for each in acknowledged] == [0, 1, 0]
    assert streams.open(dataset).position() == 3
    assert [row["id"] for row in rows(server, dataset)] == [1]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ({"mode": ingestion_pb2.WRITE_MODE_UPSERT}, "UPSERT_KEYS_INVALID"),
        ({"keys": ["id"]}, "UPSERT_KEYS_INVALID"),
        ({"column_types": {"id": "int65"}}, "INVALID_READ_OPTIONS"),
        ({"mode": ingestion_pb2.WRITE_MODE_OVERWRITE}, "REQUEST_INVALID"),
        ({"producer": "a b"}, "REQUEST_INVALID"),
    ],
)
def test_a_target_that_cannot_be_written_to_is_refused_at_once(
    server: ServedIngestion, streams: Streams, dataset: str, target: dict[str, Any], reason: str
) -> None:
    stream = streams.open(dataset, **target)
    refusal = refused(lambda: next(stream.call))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert not server.exists(dataset)


def test_messages_in_another_order_are_refused(server: ServedIngestion, streams: Streams, dataset: str) -> None:
    without_target = streams.raw()
    without_target.send(batch(1, ndjson({"id": 1})))
    assert refused(lambda: next(without_target.call)).reason == "STREAM_MISUSED"
    silent = streams.raw()
    silent.done_sending()
    assert refused(lambda: next(silent.call)).reason == "STREAM_MISUSED"

    def ends_with(request: pb.WriteRowsRequest) -> str:
        stream = streams.open(dataset)
        stream.position()
        stream.send(request)
        return reason_of(stream.end())

    assert ends_with(pb.WriteRowsRequest(target=pb.StreamTarget(dataset=dataset, producer="x"))) == "STREAM_MISUSED"
    other_project = batch(1, ndjson({"id": 1}))
    other_project.project = "other"
    assert ends_with(other_project) == "STREAM_MISUSED"
    assert ends_with(batch(0, ndjson({"id": 1}))) == "REQUEST_INVALID"
    assert not server.exists(dataset)


def test_nobody_writes_without_the_permission(server: ServedIngestion, mesh: Mesh, dataset: str) -> None:
    with streams_of(server, mesh, grants={"mine": ["ingestion.data.write"], "*": ["ingestion.data.read"]}) as limited:
        elsewhere = limited.open(dataset)
        assert refused(lambda: next(elsewhere.call)).code is grpc.StatusCode.PERMISSION_DENIED
        mine = limited.open(dataset, project="mine")
        assert mine.position() == 0
        mine.send(batch(1, ndjson({"id": 1})))
        assert mine.acknowledgement().sequence == 1
    assert rows_of(server.place.table(dataset, "mine")).num_rows == 1
