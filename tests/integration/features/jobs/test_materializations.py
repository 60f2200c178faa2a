"""Datasets on their way into the online store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb
from mlops.ingestion.v1 import ingestion_pb2
from mlops.processing.v1.processing_job_pb2 import RUN_MODE_FULL

from servers.features.definitions.records import ViewVersion
from servers.features.online.lmdb_store import LmdbOnlineStore
from tests.integration.features.jobs.fed import (
    CANCELLED,
    FAILED,
    FULL,
    INCREMENTAL,
    PATIENCE_S,
    START,
    SUCCEEDED,
    TIME,
    Fed,
    at,
    fed,
    keep_processing_busy,
)
from tests.integration.processing.server.served import ServedProcessing
from tests.integration.runtime.waiting import eventually

OVERWRITE = ingestion_pb2.WRITE_MODE_OVERWRITE


def rows(ids: list[int | None], hours: list[float | None], amounts: list[int]) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "event": at(*hours), "amount": pa.array(amounts, pa.int64())})


@pytest.fixture
def dataset(features: Fed) -> str:
    return features.served.dataset(rows([1, 2], [10, 10], [100, 200]))


def counts(done: pb.Materialization) -> tuple[int, int, int]:
    return done.read_rows, done.written_rows, done.kept_newer_rows


def test_what_has_come_since_is_read_however_old_it_is_and_the_newest_wins(features: Fed, dataset: str) -> None:
    view = features.spending(dataset)
    first = features.materialize(view)
    features.write(dataset, rows([1, 3, 2], [9, 1, 11], [99, 300, 201]))

    second = features.materialize(view)
    third = features.materialize(view)

    assert (first.effective_mode, counts(first)) == (FULL, (2, 2, 0))
    assert (second.effective_mode, counts(second)) == (INCREMENTAL, (3, 2, 1))
    assert (third.effective_mode, counts(third), third.dataset_version) == (INCREMENTAL, (0, 0, 0), second.dataset_version)
    assert features.newest(view, [1, 2, 3, 4]) == [100, 201, 300, None]
    state = features.around.online_states.get(view.id)
    assert (state.newest_event_time, state.written_rows) == (START + timedelta(hours=11), 4)


def test_where_rows_were_replaced_the_online_store_is_what_the_dataset_says(features: Fed, dataset: str) -> None:
    view = features.spending(dataset)
    features.materialize(view)
    features.write(dataset, rows([2], [5], [222]), OVERWRITE)

    done = features.materialize(view)

    assert (done.effective_mode, counts(done)) == (FULL, (1, 1, 0))
    assert features.newest(view, [1, 2]) == [None, 222]


def test_a_full_one_builds_vectors_that_are_read_once_they_are_all_there_and_the_old_ones_go(features: Fed, dataset: str) -> None:
    view = features.spending(dataset)
    features.materialize(view)

    again = features.materialize(view, FULL)

    assert counts(again) == (2, 2, 0)
    assert (features.around.online_states.get(view.id).generation, features.newest(view, [1, 2])) == (1, [100, 200])
    [old] = features.jobs.old_generations.of_version(view.id)
    assert features.online.count(old) == 2
    features.jobs.remove_vectors(view)
    assert (features.online.count(old), features.online.count(view.online_name(1))) == (0, 0)
    assert features.jobs.old_generations.of_version(view.id) == []


def test_rows_of_the_future_are_left_out_and_found_once_it_has_come(others: ServedProcessing) -> None:
    now = START + timedelta(hours=10)
    with fed(others, clock=lambda: now) as features:
        dataset = others.dataset(rows([1, 1, 2], [9, 11, 11], [1, 11, 2]))
        view = features.spending(dataset)
        early = features.materialize(view)
        before = features.newest(view, [1, 2])
        now = START + timedelta(hours=11)

        late = features.materialize(view)

        assert (counts(early), before) == ((3, 1, 0), [1, None])
        assert (late.effective_mode, late.dataset_version, features.newest(view, [1, 2])) == (FULL, early.dataset_version, [11, 2])
        assert not features.around.online_states.get(view.id).has_skipped_rows


def test_rows_without_a_key_or_a_time_are_left_out_and_times_without_a_zone_are_of_utc(features: Fed) -> None:
    naive = pa.array([datetime(2026, 1, 1), None, datetime(2026, 1, 2), datetime(2026, 1, 3)], pa.timestamp("us"))
    written = pa.array([datetime(2026, 1, 1).date(), datetime(2026, 1, 1).date(), datetime(2026, 1, 2).date(), None])
    table = pa.table({"id": [1, 2, None, 4], "event": naive, "written": written, "amount": [1, 2, 3, 4]})
    view = features.spending(features.served.dataset(table), write_time_column="written")

    done = features.materialize(view)

    assert counts(done) == (4, 1, 0)
    assert features.newest(view, [1, 2, 4]) == [1, None, None]
    assert features.around.online_states.get(view.id).newest_event_time == START


def test_a_view_that_nobody_has_pushed_to_has_nothing_to_read(features: Fed) -> None:
    view = features.view(
        view_pb.FeatureViewSpec(
            push=view_pb.PushSource(), event_time_column="event", features=[view_pb.Feature(name="amount", type="int64")]
        )
    )

    done = features.materialize(view)

    assert (counts(done), done.HasField("dataset_version")) == ((0, 0, 0), False)


def test_what_a_view_computes_is_computed_before(features: Fed) -> None:
    orders = features.served.dataset(rows([1, 1, 2], [1, 2, 3], [10, 20, 30]))
    view = features.view(
        view_pb.FeatureViewSpec(
            computed=view_pb.ComputedSource(
                inputs=[{"name": "orders", "dataset": orders}],
                sql="SELECT id AS customer_id, max(event) AS event, sum(amount)::BIGINT AS total FROM orders GROUP BY id",
            ),
            event_time_column="event",
            features=[view_pb.Feature(name="total")],
        )
    )

    first = features.materialize(view)
    features.write(orders, rows([2], [4], [3]))
    second = features.materialize(view)

    assert "" != first.processing_job_id != second.processing_job_id
    assert features.newest(view, [1, 2]) == [30, 33]


def test_where_somebody_else_computes_a_view_it_is_computed_again_after_that(features: Fed, tmp_path: Path) -> None:
    orders = features.served.dataset(rows([1], [1], [10]))
    view = features.view(
        view_pb.FeatureViewSpec(
            computed=view_pb.ComputedSource(
                inputs=[{"name": "orders", "dataset": orders}], sql="SELECT id AS customer_id, event, amount FROM orders"
            ),
            event_time_column="event",
            features=[view_pb.Feature(name="amount")],
        )
    )
    keep_processing_busy(features, tmp_path / "go")
    other = features.around.processing.run_pipeline("default", view.pipeline, RUN_MODE_FULL, "")
    features.write(orders, rows([2], [2], [20]))
    asked = features.begin(view)
    eventually(lambda: features.look(asked.id).HasField("start_time"), PATIENCE_S)
    (tmp_path / "go").touch()

    ended = features.ended(asked.id)

    assert ended.state == SUCCEEDED, ended
    assert ended.processing_job_id not in ("", other.id)
    assert features.newest(view, [1, 2]) == [10, 20]


def test_the_error_of_the_job_that_computes_a_view_is_that_of_its_materialisation(features: Fed) -> None:
    orders = features.served.dataset(rows([1], [1], [10]))
    view = features.view(
        view_pb.FeatureViewSpec(
            computed=view_pb.ComputedSource(
                inputs=[{"name": "orders", "dataset": orders}],
                sql="SELECT id AS customer_id, event, CAST(chr(64 + amount::INT) AS BIGINT) AS total FROM orders",
            ),
            event_time_column="event",
            features=[view_pb.Feature(name="total")],
        )
    )

    failed = features.ended(features.begin(view).id)

    assert failed.state == FAILED
    assert failed.processing_job_id in failed.error.message


@pytest.fixture
def many(features: Fed) -> str:
    """A dataset that takes a while."""
    count = 400_000
    table = pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "event": pa.array([START] * count, TIME),
            "amount": pa.array(range(count), pa.int64()),
        }
    )
    return features.served.dataset(table)


def kill_data_processes() -> None:
    for each in psutil.Process().children():
        # Processes of other servers end by themselves when they have been idle, in this moment perhaps.
        with suppress(psutil.NoSuchProcess):
            if "servers.features.data_process" in each.cmdline():
                each.kill()


@contextmanager
def begun(features: Fed, view: ViewVersion, mode: int = INCREMENTAL) -> Iterator[pb.Materialization]:
    """A materialisation that has written some rows, and cannot write more within the block: else it might be over before a test acts."""
    assert isinstance(features.online, LmdbOnlineStore)
    name, pause = view.online_name(1 if mode == FULL else 0), threading.Event()
    # LMDB lets one writer in at a time, of all processes.
    with ExitStack() as only_writer:
        only_writer.enter_context(features.online._env.begin(write=True))
        asked = features.begin(view, mode)

        def has_written() -> bool:
            only_writer.close()
            pause.wait(0.01)
            only_writer.enter_context(features.online._env.begin(write=True))
            return features.online.count(name) > 0

        eventually(has_written, PATIENCE_S)
        yield asked


def test_a_process_that_is_killed_is_followed_by_another_and_a_view_has_one_materialisation_at_a_time(features: Fed, many: str) -> None:
    view = features.spending(many)
    with begun(features, view) as asked:
        other = features.begin(view)

        kill_data_processes()

    ended = features.ended(asked.id)
    assert other.id == asked.id
    assert (ended.state, ended.read_rows, ended.written_rows + ended.kept_newer_rows) == (SUCCEEDED, 400_000, 400_000)
    assert ended.kept_newer_rows > 0
    assert features.newest(view, [0, 399_999]) == [0, 399_999]
    assert features.begin(view).id != asked.id


def test_a_server_that_is_started_again_goes_on(others: ServedProcessing, many: str, tmp_path: Path) -> None:
    with fed(others, data_dir=tmp_path) as features:
        view = features.spending(many)
        with begun(features, view) as asked:
            features.jobs.close()

    with fed(others, data_dir=tmp_path) as features:
        ended = features.ended(asked.id)
        assert (ended.state, ended.read_rows) == (SUCCEEDED, 400_000)
        assert ended.kept_newer_rows > 0
        assert features.newest(view, [399_999]) == [399_999]


def test_one_that_is_cancelled_leaves_readers_what_they_had(features: Fed, many: str) -> None:
    view = features.spending(many)
    with begun(features, view, FULL) as asked:
        features.stub.CancelMaterialization(pb.CancelMaterializationRequest(id=asked.id))

        ended = features.ended(asked.id)

    state = features.around.online_states.get(view.id)
    assert (ended.state, state.generation, state.building, state.dataset_version) == (CANCELLED, 0, None, None)
    assert features.jobs.old_generations.of_version(view.id) == [view.online_name(1)]


def test_views_that_want_it_are_materialised_by_themselves(features: Fed, dataset: str) -> None:
    view = features.spending(dataset, materialize_interval={"seconds": 1})

    eventually(lambda: features.newest(view, [1]) == [100], PATIENCE_S)
    features.write(dataset, rows([1], [12], [101]))
    eventually(lambda: features.newest(view, [1]) == [101], PATIENCE_S)

    # Vectors can be read a moment before the materialisation that wrote them has ended.
    request = pb.ListMaterializationsRequest(filter=f'view = "{view.view}" AND state = "SUCCEEDED"', order_by="create_time", page_size=1)
    eventually(lambda: features.stub.ListMaterializations(request).next_page_token, PATIENCE_S)
    assert [each.creator for each in features.stub.ListMaterializations(request).materializations] == ["schedule"]
