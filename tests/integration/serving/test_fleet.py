"""Several workers that act as one component: what is told to the first is done by all."""

from __future__ import annotations

import multiprocessing
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mlops.serving.v1 import served_model_pb2
from mlops.serving.v1 import serving_service_pb2 as pb
from mlops.serving.v1.serving_service_pb2_grpc import ModelServingServiceStub

from blob_store import LocalBlobStore
from servers.runtime.server import Server
from servers.serving.artifacts import ArtifactCache
from servers.serving.model_source import SourceFile, SourceVersion
from tests.integration.serving.calls import details_of, predict_version, until
from tests.integration.serving.conftest import ServingMesh
from tests.small_mesh import onnx_models
from tests.small_mesh.registry import digest_of

READY = served_model_pb2.SERVED_MODEL_STATE_READY
FAILED = served_model_pb2.SERVED_MODEL_STATE_FAILED


@dataclass
class Fleet:
    """Workers of serving in one process, each on a socket of its own."""

    mesh: ServingMesh
    count: int
    workers: dict[int, ModelServingServiceStub] = field(default_factory=dict)
    servers: dict[int, Server] = field(default_factory=dict)

    @property
    def first(self) -> ModelServingServiceStub:
        return self.workers[1]

    def address(self, number: int) -> str:
        return f"unix:{self.mesh.folder}/serving-{number}.sock"

    def start(self, number: int, **changes: object) -> None:
        addresses = tuple(self.address(other) for other in range(2, self.count + 1))
        self.workers[number] = self.mesh.serve(worker=number, listen=self.address(number), worker_addresses=addresses, **changes)
        self.servers[number] = self.mesh.servers[-1]

    def stop(self, number: int) -> None:
        self.servers.pop(number).stop()

    def served(self, number: int) -> dict[tuple[str, int], served_model_pb2.ServedModel]:
        """What one worker has; only the first is asked for all."""
        models = self.workers[number].ListServedModels(pb.ListServedModelsRequest()).models
        return {(model.name, model.version): model for model in models}


@pytest.fixture
def fleet(mesh: ServingMesh) -> Fleet:
    made = Fleet(mesh, 3)
    for number in (2, 3, 1):
        made.start(number)
    for version in range(3):
        mesh.registry.save_onnx("flights", onnx_models.linear(seed=version))
    mesh.registry.aliases["default", "flights", "champion"] = 2
    return made


def load(stub: ModelServingServiceStub, version: int = 0, **choice: str) -> served_model_pb2.ServedModel:
    return stub.LoadModel(pb.LoadModelRequest(model="flights", version=version, **choice))


def test_a_model_is_loaded_by_every_worker(fleet):
    loaded = load(fleet.first, alias="champion")

    assert (loaded.version, loaded.state) == (2, READY)
    assert all(fleet.served(number)["flights", 2].state == READY for number in (2, 3))


def test_workers_but_the_first_load_for_themselves(fleet):
    load(fleet.workers[2], version=1)

    assert ("flights", 1) in fleet.served(2)
    assert fleet.served(3) == {}


def test_a_worker_that_is_away_is_passed_over_and_loads_on_demand_when_it_is_back(fleet):
    fleet.stop(2)
    assert load(fleet.first, version=1).state == READY
    assert ("flights", 1) in fleet.served(3)

    fleet.start(2)

    assert predict_version(fleet.workers[2], "flights", version=1) == 1


def test_a_worker_that_is_back_takes_part_again(fleet):
    fleet.stop(2)
    load(fleet.first, version=1)
    fleet.start(2)

    def takes_part() -> bool:
        load(fleet.first, version=3)
        return ("flights", 3) in fleet.served(2)

    until(takes_part, within_s=20)


def test_a_worker_that_was_restarted_has_what_it_had_before_it_is_ready(fleet):
    load(fleet.first, version=1)
    load(fleet.first, version=2)
    fleet.first.UnloadModel(pb.UnloadModelRequest(model="flights", version=1))
    fleet.stop(2)
    fleet.start(2)

    until(lambda: fleet.servers[2].is_ready, within_s=20)

    assert {key: model.state for key, model in fleet.served(2).items()} == {("flights", 2): READY}


def test_a_worker_that_hangs_keeps_nobody_waiting_for_ever(fleet):
    fleet.stop(2)
    with closing(socket.socket(socket.AF_UNIX)) as deaf:
        deaf.bind(fleet.address(2).removeprefix("unix:"))
        deaf.listen()

        assert load(fleet.first, version=1).state == READY
        assert [model.version for model in fleet.first.ListServedModels(pb.ListServedModelsRequest()).models] == [1]
        assert fleet.first.UnloadModel(pb.UnloadModelRequest(model="flights")).unloaded_versions == [1]


def test_a_load_that_fails_on_one_worker_is_an_error_that_says_so(fleet):
    fleet.stop(3)
    fleet.start(3, max_model_bytes=10)

    def fails() -> grpc.RpcError | None:
        try:
            load(fleet.first, version=1)
        except grpc.RpcError as error:
            return error
        return None  # the connection to the worker was not made again yet

    until(lambda: fails() is not None, within_s=20)
    error = fails()
    assert error is not None
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details().startswith("not done by worker 3 of 3: `flights` version 1 cannot be loaded")
    assert "at most 10 are loaded" in error.details()
    info = details_of(error)["ErrorInfo"]
    assert (info.reason, info.metadata["worker"]) == ("MODEL_LOAD_FAILED", "3")
    assert violations_of(error)

    (listed,) = fleet.first.ListServedModels(pb.ListServedModelsRequest(filter="state = FAILED")).models
    assert listed.error.startswith("worker 3: the ONNX form of `flights`")
    assert listed.signature.inputs[0].name == "x"


def violations_of(error: grpc.RpcError) -> list[str]:
    failed = error_details_pb2.PreconditionFailure()
    return [one.type for detail in rpc_status.from_call(error).details if detail.Unpack(failed) for one in failed.violations]


def test_a_load_that_fails_everywhere_is_told_as_by_one_worker(fleet):
    fleet.mesh.registry.save_onnx("broken", b"this is no model")

    with pytest.raises(grpc.RpcError) as raised:
        fleet.first.LoadModel(pb.LoadModelRequest(model="broken"))

    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert raised.value.details().startswith("`broken` version 1 cannot be loaded")
    (listed,) = fleet.first.ListServedModels(pb.ListServedModelsRequest()).models
    assert listed.error.startswith("the file is not an ONNX model")


def test_a_version_that_is_not_there_is_not_found_before_any_worker_is_asked(fleet):
    with pytest.raises(grpc.RpcError) as raised:
        load(fleet.first, version=9)

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_what_any_worker_has_is_unloaded(fleet):
    load(fleet.workers[1], version=1)
    load(fleet.workers[2], version=2)
    load(fleet.workers[3], version=3)

    unloaded = fleet.first.UnloadModel(pb.UnloadModelRequest(model="flights"))

    assert unloaded.unloaded_versions == [1, 2, 3]
    assert fleet.served(1) == fleet.served(2) == fleet.served(3) == {}


def test_unloading_what_no_worker_has_is_not_found(fleet):
    load(fleet.workers[3], version=3)

    with pytest.raises(grpc.RpcError) as raised:
        fleet.first.UnloadModel(pb.UnloadModelRequest(model="flights", version=1))

    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert details_of(raised.value)["ErrorInfo"].reason == "MODEL_NOT_LOADED"
    assert ("flights", 3) in fleet.served(3)


def test_a_list_has_one_entry_a_version_with_the_statistics_of_all_workers(fleet):
    load(fleet.first, version=1)
    for number in (1, 2, 2, 3):
        predict_version(fleet.workers[number], "flights", version=1)

    (listed,) = fleet.first.ListServedModels(pb.ListServedModelsRequest()).models

    assert (listed.name, listed.version, listed.state) == ("flights", 1, READY)
    assert (listed.statistics.success_count, listed.statistics.row_count) == (4, 4)
    assert listed.statistics.HasField("last_predict_time")


def test_lists_are_filtered_ordered_and_paged_across_workers(fleet):
    for number in (1, 2, 3):
        load(fleet.workers[number], version=number)
    request = pb.ListServedModelsRequest(page_size=2, order_by="version desc", filter="version > 0 AND state = READY")

    page = fleet.first.ListServedModels(request)
    request.page_token = page.next_page_token
    rest = fleet.first.ListServedModels(request)

    assert [model.version for model in page.models] == [3, 2]
    assert [model.version for model in rest.models] == [1]
    assert not rest.next_page_token


def test_a_load_is_audited_once_however_many_workers_there_are(fleet):
    load(fleet.first, version=1)
    fleet.first.UnloadModel(pb.UnloadModelRequest(model="flights"))

    method = "/mlops.serving.v1.ModelServingService/"
    until(lambda: f"{method}UnloadModel" in fleet.mesh.users.audited, within_s=10)
    assert fleet.mesh.users.audited.count(f"{method}LoadModel") == 1


def test_a_worker_that_starts_leaves_alone_what_another_is_loading_from(mesh):
    fleet = Fleet(mesh, 2)
    fleet.start(1)
    mesh.registry.save_onnx("flights", onnx_models.linear())
    downloading, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        downloading.set()
        assert go_on.wait(30)

    mesh.registry.before_download = pause
    answers: list[served_model_pb2.ServedModel] = []
    loading = threading.Thread(target=lambda: answers.append(load(fleet.first, version=1)))
    loading.start()
    assert downloading.wait(30)

    fleet.start(2)
    go_on.set()
    loading.join(30)

    assert [answer.state for answer in answers] == [READY]


MODELS = 6
ROUNDS = 40


class _Blobs:
    """A registry that is never away."""

    def __init__(self) -> None:
        models = [onnx_models.linear(features=64, outputs=64, seed=seed) for seed in range(MODELS)]
        self.blobs = {digest_of(model): model for model in models}
        self.versions = [
            SourceVersion("default", "m", number, "onnx", "model.onnx", (SourceFile("model.onnx", digest, len(content)),))
            for number, (digest, content) in enumerate(self.blobs.items(), 1)
        ]

    def resolve(self, choice: object, timeout_s: float) -> SourceVersion:
        raise NotImplementedError

    def fetch(self, project: str, file: SourceFile) -> Iterator[bytes]:
        yield self.blobs[file.digest]


def load_in_turn(folder: str, number: int, together: object) -> None:
    """What one of several processes does: it takes files out of a cache that holds two of six."""
    source = _Blobs()
    size = max(len(blob) for blob in source.blobs.values())
    scratch = Path(folder) / "loading" / str(number)
    cache = ArtifactCache(source, LocalBlobStore(Path(folder) / "cache"), scratch, max_cache_bytes=2 * size, max_model_bytes=size)
    cache.clear_scratch()
    together.wait(60)  # type: ignore[attr-defined]
    for turn in range(ROUNDS):
        version = source.versions[(turn * (number + 1)) % MODELS]
        with cache.onnx_files(version) as files:
            assert digest_of(files.model.read_bytes()) == version.files[0].digest


def test_processes_share_a_cache_while_each_evicts_what_the_other_has_fetched(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(2)
    processes = [spawn.Process(target=load_in_turn, args=(str(tmp_path), number, together)) for number in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)

    assert [process.exitcode for process in processes] == [0, 0]
    kept = list(LocalBlobStore(tmp_path / "cache").iterate())
    assert 1 <= len(kept) <= 3
    assert {blob.digest for blob in kept} <= set(_Blobs().blobs)
