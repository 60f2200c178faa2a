"""Pushed rows go where they should, whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc
import pyarrow as pa
import pytest
from mlops.features.v1 import feature_serving_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.definitions.records import ViewVersion
from servers.features.online import JoinKey, JoinKeyType
from servers.features.peers.errors import IngestionUnavailable
from sql_engine import write
from tests.integration.features.serving.served import NOW, NotedIngestion, Refusal, ServedFeatures, refusal_of

AT = "2026-11-27T11:00:00Z"
HOUR = datetime(2026, 11, 27, 11, tzinfo=UTC)
BOTH, OFFLINE = pb.PUSH_TARGET_ONLINE_AND_OFFLINE, pb.PUSH_TARGET_OFFLINE


@pytest.fixture
def ingestion(features: ServedFeatures) -> NotedIngestion:
    assert isinstance(features.ingestion, NotedIngestion)
    features.ingestion.taken.clear()
    features.ingestion.columns, features.ingestion.failure = (), None
    features.clock[0] = NOW
    return features.ingestion


def table_of(file: bytes) -> pa.Table:
    return pa.ipc.open_file(file).read_all()


def stream_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return bytes(sink.getvalue())


def push_arrow(features: ServedFeatures, view: ViewVersion, table: pa.Table) -> pb.PushFeaturesResponse:
    request = pb.PushFeaturesRequest(name=view.view, arrow_stream=stream_of(table), target=pb.PUSH_TARGET_ONLINE)
    answer: pb.PushFeaturesResponse = features.stub().PushFeatures(request)
    return answer


def refused(features: ServedFeatures, view: ViewVersion, rows: Sequence[Mapping[str, Any]], **more: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as error:
        features.push(view, rows, **more)
    return refusal_of(error.value)


RIGHT = {"user_id": 1, "at": AT, "age": 1}
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"agee": 1}, "agee", "the view has no such column; it has user_id, age, total, note, raw, price, tags, day, seen, at"),
    ({"age": 1.5}, "age", "1.5 is not a whole number"),
    ({"age": 300}, "age", "300 is not within int8: -128 to 127"),
    ({"age": "12x"}, "age", "'12x' is not a whole number"),
    ({"age": True}, "age", "true is not a whole number"),
    ({"user_id": 2.0**53 + 2}, "user_id", "9007199254740994 is beyond 2^53, where JSON's numbers lose digits; give it as a text"),
    ({"user_id": "9223372036854775808"}, "user_id", "9223372036854775808 is not within int64"),
    ({"user_id": None}, "user_id", "the join key 'user_id' is missing"),
    ({"total": 1e39}, "total", "1e+39 is too large for float32"),
    ({"total": "1.5"}, "total", "'1.5' is not a number"),
    ({"note": 5}, "note", "5 is not a text"),
    ({"raw": "a?"}, "raw", "'a?' is not base64"),
    ({"price": 1.25}, "price", "1.25 is not a decimal in a text"),
    ({"price": "1.255"}, "price", "'1.255' has more digits than decimal(4, 2)"),
    ({"price": "100.00"}, "price", "'100.00' has more digits than decimal(4, 2)"),
    ({"tags": ["a", None]}, "tags", "a null in a list is not kept"),
    ({"tags": "a"}, "tags", "'a' is not a list"),
    ({"day": "2026-02-30"}, "day", "'2026-02-30' is not a date"),
    ({"seen": "2026-11-27T11:00:00"}, "seen", "'2026-11-27T11:00:00' is not a time with its zone"),
    ({"at": "2026-11-27T11:00:00.1234567Z"}, "at", "is not a time with its zone and at most microseconds"),
    ({"at": None}, "at", "the event time is missing"),
]


@pytest.fixture(scope="module")
def strict(features: ServedFeatures) -> ViewVersion:
    types = {"age": "int8", "total": "float32", "note": "string", "raw": "bytes", "price": "decimal(4, 2)", "tags": "list<string>"}
    return features.view(types | {"day": "date", "seen": "timestamp"})


@pytest.mark.parametrize(("wrong", "column", "message"), WRONG)
def test_a_wrong_row_is_named_and_nothing_of_the_push_is_written(
    features: ServedFeatures, ingestion: NotedIngestion, strict: ViewVersion, wrong: dict[str, Any], column: str, message: str
) -> None:
    found = refused(features, strict, [RIGHT, RIGHT | wrong], target=BOTH)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PUSHED_ROWS")
    assert found.metadata == {"row": "1", "column": column}
    assert message in found.message
    assert features.serve(strict, {"user_id": [1]})["age"][1] == ["NOT_FOUND"]
    assert not ingestion.taken
    assert features.states.get(strict.id).written_rows == 0


def test_an_event_in_the_future_is_refused_unless_clocks_may_differ_so_much(features: ServedFeatures, ingestion: NotedIngestion) -> None:
    view = features.view({"age": "int8"})
    soon, later = ((NOW + timedelta(seconds=s)).isoformat() for s in (299, 301))
    assert features.push(view, [RIGHT | {"at": soon}]).written_rows == 1
    found = refused(features, view, [RIGHT, RIGHT | {"at": later}])
    assert (found.code, found.reason, found.metadata) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "EVENT_TIME_IN_FUTURE",
        {"row": "1", "column": "at"},
    )


def test_a_push_has_at_least_one_row_and_at_most_so_many(features: ServedFeatures, ingestion: NotedIngestion) -> None:
    view = features.view({"age": "int8"})
    assert refused(features, view, [RIGHT] * 101).reason == "TOO_MANY_PUSHED_ROWS"
    with pytest.raises(grpc.RpcError) as error:
        push_arrow(features, view, pa.table({"user_id": pa.array([], pa.int64()), "at": pa.array([], pa.timestamp("us"))}))
    assert "there are no rows" in refusal_of(error.value).message
    with pytest.raises(grpc.RpcError) as error:
        push_arrow(features, view, pa.table({"user_id": list(range(103)), "at": [HOUR] * 103}))
    assert refusal_of(error.value).reason == "TOO_MANY_PUSHED_ROWS"


def test_an_arrow_stream_is_taken_as_it_is_typed(features: ServedFeatures, ingestion: NotedIngestion) -> None:
    view = features.view({"age": "int8", "total": "float32", "note": "string"})
    rows = pa.table(
        {
            "note": pa.array(["a", None, "a"]).dictionary_encode(),
            "at": pa.array([date(2026, 11, 26), date(2026, 11, 27), date(2026, 11, 27)]),
            "user_id": pa.array([1, 2, 3], pa.int32()),
            "total": pa.array([0.1, 0.2, None], pa.float64()),
        }
    )
    assert push_arrow(features, view, rows).written_rows == 3
    found = features.serve(view, {"user_id": [1, 2, 3]})
    assert found["note"] == (["a", "", "a"], ["PRESENT", "NULL", "PRESENT"])
    assert found["total"][0] == pytest.approx([0.1, 0.2, 0.0])
    assert found["age"][1] == ["NULL"] * 3
    assert features.states.get(view.id).newest_event_time == datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("columns", "place", "message"),
    [
        ({"age": [1, 2, 300]}, {"row": "2", "column": "age"}, "int8"),
        ({"age": ["1", "2", "3"]}, {"column": "age"}, "a column of string is not"),
        ({"usr": [1, 2, 3]}, {"column": "usr"}, "the view has no such column"),
        ({"user_id": [1, None, 3]}, {"row": "1", "column": "user_id"}, "the join key 'user_id' is missing"),
        ({"at": [HOUR, None, HOUR]}, {"row": "1", "column": "at"}, "the event time is missing"),
        ({"at": pa.array([10**9, 10**9, 1], pa.timestamp("ns"))}, {"row": "2", "column": "at"}, "more than microseconds"),
        ({"at": [1, 2, 3]}, {"column": "at"}, "a column of int64 has no times"),
    ],
)
def test_a_wrong_arrow_column_is_named_with_its_first_wrong_row(
    features: ServedFeatures, ingestion: NotedIngestion, columns: dict[str, Any], place: dict[str, str], message: str
) -> None:
    view = features.view({"age": "int8"})
    with pytest.raises(grpc.RpcError) as error:
        push_arrow(features, view, pa.table({"user_id": [1, 2, 3], "at": [HOUR] * 3} | columns))
    found = refusal_of(error.value)
    assert (found.reason, found.metadata) == ("INVALID_PUSHED_ROWS", place)
    assert message in found.message


def test_bytes_that_are_no_arrow_stream_are_refused(features: ServedFeatures, ingestion: NotedIngestion) -> None:
    view = features.view({"age": "int8"})
    whole = stream_of(pa.table({"user_id": [1, 2, 3], "at": [HOUR] * 3}))
    for damaged in (b"nothing", whole[:200], whole[: len(whole) // 2]):
        with pytest.raises(grpc.RpcError) as error:
            features.stub().PushFeatures(pb.PushFeaturesRequest(name=view.view, arrow_stream=damaged))
        assert refusal_of(error.value).reason == "INVALID_PUSHED_ROWS"


def named(features: ServedFeatures, **source: Any) -> ViewVersion:
    """A view whose columns have other names than its features and keys."""
    return features.view({"age": "int32"}, event_time_column="day", write_time_column="written", key_columns={"user_id": "usr"}, **source)


def test_rows_have_the_columns_of_the_source_and_go_there_with_the_time_of_writing(
    features: ServedFeatures, ingestion: NotedIngestion
) -> None:
    view = named(features, push=view_pb.PushSource())
    written = "2026-11-27T11:30:00Z"
    answer = features.push(view, [{"usr": 1, "day": AT, "age": 5, "written": written}, {"usr": 2, "day": AT}], target=BOTH)
    assert (answer.version, answer.written_rows, answer.ingestion_id) == (1, 2, "ingestion-1")
    [(dataset, file, _)] = ingestion.taken
    assert dataset == view.dataset
    assert table_of(file).to_pylist() == [
        {"usr": 1, "age": 5, "day": HOUR, "written": HOUR + timedelta(minutes=30)},
        {"usr": 2, "age": None, "day": HOUR, "written": NOW},
    ]
    # Of the same event the later write wins, and the one from the first push was later.
    again = features.push(view, [{"usr": 1, "day": AT, "age": 6, "written": AT}, {"usr": 2, "day": AT, "age": 7, "written": AT}])
    assert (again.written_rows, again.kept_newer_rows) == (0, 2)
    assert features.serve(view, {"user_id": [1, 2]})["age"] == ([5, 0], ["PRESENT", "NULL"])


def test_times_become_what_they_are_in_the_dataset(features: ServedFeatures, ingestion: NotedIngestion) -> None:
    ingestion.columns = (("day", "date32[day]"), ("written", "timestamp[us]"))
    view = named(features, dataset=view_pb.DatasetSource(dataset="given"))
    rows = [{"usr": 1, "day": "2026-11-27", "age": 5, "written": AT}]
    features.push(view, rows, target=OFFLINE)
    [(_, file, _)] = ingestion.taken
    assert table_of(file).to_pylist() == [{"usr": 1, "age": 5, "day": date(2026, 11, 27), "written": HOUR.replace(tzinfo=None)}]
    assert features.serve(view, {"user_id": [1]})["age"][1] == ["NOT_FOUND"]
    found = refused(features, view, [*rows, {"usr": 1, "day": AT}], target=BOTH)
    assert (found.reason, found.metadata) == ("INVALID_PUSHED_ROWS", {"row": "1", "column": "day"})


def test_a_view_takes_rows_only_where_it_has_them(features: ServedFeatures, ingestion: NotedIngestion) -> None:
    computed = features.view({"age": "int8"}, computed=view_pb.ComputedSource(sql="SELECT 1"))
    for target in (pb.PUSH_TARGET_UNSPECIFIED, BOTH, OFFLINE):
        found = refused(features, computed, [RIGHT], target=target)
        assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PUSH_TARGET_NOT_POSSIBLE")
        assert "PUSH_TARGET_ONLINE" in found.message
    assert features.push(computed, [RIGHT]).written_rows == 1
    offline = features.view({"age": "int8"}, push=view_pb.PushSource(), offline_only=True)
    assert refused(features, offline, [RIGHT], target=BOTH).reason == "FEATURE_VIEW_IS_OFFLINE_ONLY"
    assert features.push(offline, [RIGHT], target=OFFLINE).ingestion_id
    assert len(ingestion.taken) == 1


def test_a_dataset_that_is_not_the_views_own_takes_rows_of_who_may_write_into_it(
    features: ServedFeatures, ingestion: NotedIngestion
) -> None:
    view = features.view({"age": "int8"}, dataset=view_pb.DatasetSource(dataset="given"))
    request = pb.PushFeaturesRequest(name=view.view)
    request.rows.rows.add().update(RIGHT)
    with pytest.raises(grpc.RpcError) as error:
        features.stub({"default": ["features.values.write"]}).PushFeatures(request)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not ingestion.taken
    features.stub({"default": ["features.values.write", "ingestion.data.write"]}).PushFeatures(request)
    assert len(ingestion.taken) == 1


def test_what_fails_offline_is_not_online_either(features: ServedFeatures, ingestion: NotedIngestion) -> None:
    view = features.view({"age": "int8"})
    ingestion.failure = IngestionUnavailable("away")
    assert refused(features, view, [RIGHT], target=BOTH).code is grpc.StatusCode.UNAVAILABLE
    assert features.serve(view, {"user_id": [1]})["age"][1] == ["NOT_FOUND"]


def test_a_repeated_push_is_one_push(features: ServedFeatures, ingestion: NotedIngestion) -> None:
    view, request_id = named(features, push=view_pb.PushSource()), str(uuid.uuid4())
    rows = [{"usr": 1, "day": AT, "age": 5}]
    ingestion.failure = IngestionUnavailable("away")
    refused(features, view, rows, target=BOTH, request_id=request_id)
    ingestion.failure = None
    features.clock[0] = NOW + timedelta(minutes=1)
    first = features.push(view, rows, target=BOTH, request_id=request_id)
    features.clock[0] = NOW + timedelta(minutes=2)
    assert features.push(view, rows, target=BOTH, request_id=request_id) == first
    assert features.states.get(view.id).written_rows == 1
    # Ingestion is given the same bytes under the same id, however often and whenever.
    [(_, file, _)] = ingestion.taken
    assert table_of(file).column("written").to_pylist() == [NOW]


def test_a_push_that_failed_online_is_sent_to_ingestion_as_the_same_one(
    features: ServedFeatures, ingestion: NotedIngestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, request_id = named(features, push=view_pb.PushSource()), str(uuid.uuid4())
    rows = [{"usr": 1, "day": AT, "age": 5}]
    with monkeypatch.context() as broken:

        def fail(*_: Any) -> None:
            raise IngestionUnavailable("the online store is away")

        broken.setattr(features.store, "write", fail)
        refused(features, view, rows, target=BOTH, request_id=request_id)
    features.clock[0] = NOW + timedelta(minutes=1)
    assert features.push(view, rows, target=BOTH, request_id=request_id).written_rows == 1
    assert len(ingestion.taken) == 2
    assert len(set(ingestion.taken)) == 1


def test_two_features_of_one_column_may_have_two_types(features: ServedFeatures, ingestion: NotedIngestion) -> None:
    view = features.view({"user_id": "string", "at": "timestamp"}, keys=(JoinKey("user_id", JoinKeyType.STRING),))
    features.push(view, [{"user_id": "a", "at": AT}])
    found = features.serve(view, {"user_id": ["a"]})
    assert found["user_id"][0] == ["a"]
    assert found["at"][0] == [int(HOUR.timestamp()) * 1_000_000]


def test_a_push_into_a_view_that_is_deleted_meanwhile_leaves_nothing(
    features: ServedFeatures, ingestion: NotedIngestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = features.view({"age": "int8"})
    whole = features.store.write

    def delete_meanwhile(name: str, rows: Any) -> Any:
        written = whole(name, rows)
        write(features.engine, lambda connection: features.states.remove(connection, [view.id]))
        return written

    monkeypatch.setattr(features.store, "write", delete_meanwhile)
    assert refused(features, view, [RIGHT]).reason == "FEATURE_VIEW_DELETED"
    assert features.store.count(view.online_name(0)) == 0


def test_a_generation_that_is_begun_during_a_push_has_its_rows(
    features: ServedFeatures, ingestion: NotedIngestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = features.view({"age": "int8"})
    whole, begun = features.store.write, list[int]()

    def begin_meanwhile(name: str, rows: Any) -> Any:
        if not begun:
            begun.append(features.begin_building(view))
        return whole(name, rows)

    monkeypatch.setattr(features.store, "write", begin_meanwhile)
    assert features.push(view, [RIGHT]).written_rows == 1
    assert [features.store.count(view.online_name(each)) for each in (0, *begun)] == [1, 1]


def test_pushes_at_the_same_time_all_count(features: ServedFeatures, ingestion: NotedIngestion) -> None:
    view = features.view({"age": "int8"})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda user: features.push(view, [RIGHT | {"user_id": user}]), range(32)))
    state = features.states.get(view.id)
    assert (state.written_rows, state.newest_event_time) == (32, HOUR)
