"""Pushed rows arrive in datasets of a real ingestion server."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import grpc
import pytest
from mlops.common.v1 import job_pb2
from mlops.features.v1 import feature_serving_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.peers.ingestion_peer import IngestionPeer
from servers.runtime.peers import open_channel
from servers.runtime.settings import ServerSettings
from tests.integration.features.serving.served import ServedFeatures, served
from tests.integration.ingestion.server.places import FolderPlace
from tests.integration.ingestion.server.served import ServedIngestion, small_mesh
from tests.integration.ingestion.server.served import served as served_ingestion
from tests.small_mesh.identity import StaticToken

AT = "2026-11-27T11:00:00Z"
BOTH = pb.PUSH_TARGET_ONLINE_AND_OFFLINE


@pytest.fixture(scope="module")
def ingestion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedIngestion, grpc.Channel]]:
    with small_mesh() as mesh, served_ingestion(mesh, FolderPlace(tmp_path_factory.mktemp("place"))) as running:
        identity, settings = StaticToken(mesh.issuer.token()), ServerSettings(data_dir=mesh.folder)
        channel = open_channel(running.server.address, identity=identity, settings=settings, services=())
        yield running, channel
        channel.close()


@pytest.fixture(scope="module")
def beside(ingestion: tuple[ServedIngestion, grpc.Channel]) -> Iterator[ServedFeatures]:
    folder = Path(tempfile.mkdtemp(prefix="mlm-"))
    with served(folder, IngestionPeer(ingestion[1], 5)) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def test_the_first_push_makes_the_dataset_and_the_next_ones_add_to_it(
    beside: ServedFeatures, ingestion: tuple[ServedIngestion, grpc.Channel]
) -> None:
    ingesting, _ = ingestion
    types = {"n": "uint32", "f": "float32", "price": "decimal(6, 2)", "tags": "list<string>", "raw": "bytes", "day": "date"}
    view = beside.view(types)
    full = {"n": 4294967295, "f": 0.5, "price": "1.50", "tags": ["a", "b"], "raw": "AA==", "day": "2026-11-27"}
    for rows in ([{"user_id": 1, "at": AT} | full], [{"user_id": 2, "at": AT}]):
        pushed = beside.push(view, rows, target=BOTH)
        assert ingesting.ended(pushed.ingestion_id).state == job_pb2.JOB_STATE_SUCCEEDED
    moment = datetime(2026, 11, 27, 11, tzinfo=UTC)
    expected = {"n": 4294967295, "f": 0.5, "price": Decimal("1.50"), "tags": ["a", "b"], "raw": b"\0", "day": date(2026, 11, 27)}
    rows = ingesting.place.table(view.dataset).to_pyarrow_table().sort_by("user_id").to_pylist()
    assert rows == [{"user_id": 1, "at": moment} | expected, {"user_id": 2, "at": moment} | dict.fromkeys(expected)]


def test_rows_are_added_to_a_dataset_as_it_is(beside: ServedFeatures, ingestion: tuple[ServedIngestion, grpc.Channel]) -> None:
    ingesting, _ = ingestion
    view = beside.view({"n": "int32"}, dataset=view_pb.DatasetSource(dataset="x"), write_time_column="written")
    there = [{"user_id": 1, "n": 2**40, "at": "2026-11-26", "written": "2026-11-26T00:00:00", "other": "kept"}]
    assert ingesting.ingest(view.dataset, there).state == job_pb2.JOB_STATE_SUCCEEDED
    pushed = beside.push(view, [{"user_id": 2, "n": 5, "at": "2026-11-27"}], target=BOTH)
    assert ingesting.ended(pushed.ingestion_id).state == job_pb2.JOB_STATE_SUCCEEDED
    table = ingesting.place.table(view.dataset).to_pyarrow_table().sort_by("user_id")
    assert {each.name: str(each.type) for each in table.schema} == {
        "user_id": "int64", "n": "int64", "at": "date32[day]", "written": "timestamp[us]", "other": "string",
    }  # fmt: skip
    assert table.to_pylist()[1] == {
        "user_id": 2, "n": 5, "at": date(2026, 11, 27), "written": datetime(2026, 11, 27, 12), "other": None,
    }  # fmt: skip
