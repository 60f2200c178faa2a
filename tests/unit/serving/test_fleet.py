"""The first worker beside others that are servers of a test: they note what they are asked, and answer what the test says."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from mlops.serving.v1 import served_model_pb2, serving_service_pb2_grpc
from mlops.serving.v1 import serving_service_pb2 as pb

from servers.runtime.errors import DomainError, ResourceExhausted
from servers.runtime.statuses import PeerTimeout
from servers.serving import fleet as fleet_module
from servers.serving.errors import ModelLoadFailed, ModelLoading, ModelNotLoaded
from servers.serving.fleet import FleetServicer
from servers.serving.model_source import ModelChoice, SourceVersion
from servers.serving.other_workers import SERVING_SERVICE, OtherWorker, OtherWorkers
from servers.serving.servicer import ServingServicer

READY = served_model_pb2.SERVED_MODEL_STATE_READY


def ready(request: pb.LoadModelRequest, context: Any) -> served_model_pb2.ServedModel:
    return served_model_pb2.ServedModel(name=request.model, version=request.version, state=READY)


@dataclass
class Worker(serving_service_pb2_grpc.ModelServingServiceServicer):
    """One of the others."""

    on_load: Callable[[pb.LoadModelRequest, Any], served_model_pb2.ServedModel] = ready
    unloads: list[int] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    asked: list[pb.LoadModelRequest] = field(default_factory=list)
    health: health.HealthServicer = field(default_factory=health.HealthServicer)

    def LoadModel(self, request: pb.LoadModelRequest, context: Any) -> served_model_pb2.ServedModel:
        self.asked.append(request)
        return self.on_load(request, context)

    def UnloadModel(self, request: pb.UnloadModelRequest, context: Any) -> pb.UnloadModelResponse:
        if not self.unloads:
            refuse(code_pb2.NOT_FOUND, "not loaded", error_details_pb2.ErrorInfo(reason="MODEL_NOT_LOADED"))(request, context)
        return pb.UnloadModelResponse(unloaded_versions=self.unloads)

    def ListServedModels(self, request: pb.ListServedModelsRequest, context: Any) -> pb.ListServedModelsResponse:
        start = int(request.page_token or 0)
        end = start + request.page_size
        models = [served_model_pb2.ServedModel(name=name, version=1, state=READY) for name in self.lists[start:end]]
        return pb.ListServedModelsResponse(models=models, next_page_token=str(end) if end < len(self.lists) else "")


class Resolver:
    """The alias moves with every question."""

    def __init__(self) -> None:
        self.asked: list[ModelChoice] = []

    def ask(self, choice: ModelChoice) -> SourceVersion:
        self.asked.append(choice)
        return SourceVersion(choice.project, choice.name, choice.version or len(self.asked), "onnx", "", ())


class Context:
    """A caller."""

    def __init__(self, left_s: float | None = None) -> None:
        self._left_s = left_s

    def time_remaining(self) -> float | None:
        return self._left_s


@dataclass
class Own:
    """What the first worker does by itself."""

    failure: DomainError | None = None
    lists: list[str] = field(default_factory=list)
    unloads: list[int] = field(default_factory=list)


@dataclass
class Fleet:
    servicer: FleetServicer
    resolver: Resolver
    own: Own
    workers: list[Worker]
    servers: list[grpc.Server]

    def load(self, left_s: float | None = None, **fields: Any) -> served_model_pb2.ServedModel:
        return self.servicer.LoadModel(pb.LoadModelRequest(model="m", **fields), Context(left_s))


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    resolver, own, workers = Resolver(), Own(), [Worker(), Worker()]

    def load(_: ServingServicer, request: pb.LoadModelRequest, context: Any) -> served_model_pb2.ServedModel:
        if own.failure is not None:
            raise own.failure
        return ready(request, context)

    def unload(_: ServingServicer, request: pb.UnloadModelRequest, context: Any) -> pb.UnloadModelResponse:
        if own.failure is not None:
            raise own.failure
        return pb.UnloadModelResponse(unloaded_versions=own.unloads)

    def list_models(_: ServingServicer, request: pb.ListServedModelsRequest, context: Any) -> pb.ListServedModelsResponse:
        return Worker(lists=own.lists).ListServedModels(request, context)

    monkeypatch.setattr(ServingServicer, "__init__", lambda self, engine, resolver, models: setattr(self, "_resolver", resolver))
    monkeypatch.setattr(ServingServicer, "LoadModel", load)
    monkeypatch.setattr(ServingServicer, "UnloadModel", unload)
    monkeypatch.setattr(ServingServicer, "ListServedModels", list_models)
    with tempfile.TemporaryDirectory(prefix="mlm-") as folder:
        servers, channels = [], []
        for number, worker in enumerate(workers, 2):
            server = grpc.server(ThreadPoolExecutor(4))
            serving_service_pb2_grpc.add_ModelServingServiceServicer_to_server(worker, server)
            health_pb2_grpc.add_HealthServicer_to_server(worker.health, server)
            worker.health.set(SERVING_SERVICE, health_pb2.HealthCheckResponse.SERVING)
            server.add_insecure_port(f"unix:{folder}/{number}.sock")
            server.start()
            servers.append(server)
            channels.append(grpc.insecure_channel(f"unix:{folder}/{number}.sock"))
        others = OtherWorkers([OtherWorker(number, channel) for number, channel in enumerate(channels, 2)])
        servicer = FleetServicer(None, resolver, None, others, load_wait_s=60)  # type: ignore[arg-type]  # only the resolver is asked
        yield Fleet(servicer, resolver, own, workers, servers)
        for channel in channels:
            channel.close()
        for server in servers:
            server.stop(None).wait()


def refuse(code: code_pb2.Code.ValueType, text: str, *details: Any) -> Callable[[Any, Any], served_model_pb2.ServedModel]:
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)

    def answer(request: Any, context: Any) -> served_model_pb2.ServedModel:
        context.abort_with_status(rpc_status.to_status(status_pb2.Status(code=code, message=text, details=packed)))
        raise AssertionError("the call was aborted")

    return answer


def test_an_alias_is_resolved_once_and_every_worker_is_told_the_version(fleet):
    loaded = fleet.load(alias="champion", project="team")

    assert [choice.alias for choice in fleet.resolver.asked] == ["champion"]
    assert loaded.version == 1
    pinned = pb.LoadModelRequest(project="team", model="m", version=1)
    assert [worker.asked for worker in fleet.workers] == [[pinned], [pinned]]


def test_workers_load_at_the_same_time(fleet):
    together = threading.Barrier(2)

    def wait_for_the_other(request: pb.LoadModelRequest, context: Any) -> served_model_pb2.ServedModel:
        together.wait(20)
        return ready(request, context)

    for worker in fleet.workers:
        worker.on_load = wait_for_the_other

    assert fleet.load().state == READY


def test_a_refusal_of_one_worker_comes_whole_and_names_it(fleet):
    fleet.workers[1].on_load = refuse(
        code_pb2.RESOURCE_EXHAUSTED,
        "no room",
        error_details_pb2.ErrorInfo(reason="MODEL_CACHE_FULL", domain="mlmesh", metadata={"bytes": "7"}),
        error_details_pb2.RetryInfo(retry_delay={"seconds": 30}),
    )

    with pytest.raises(ResourceExhausted) as raised:
        fleet.load()

    assert raised.value.message == "not done by worker 3 of 3: no room"
    assert raised.value.reason == "MODEL_CACHE_FULL"
    assert raised.value.metadata == {"bytes": "7", "worker": "3"}
    assert raised.value.retry_after_s == 30


def test_a_refusal_of_this_worker_says_that_others_have_loaded(fleet):
    fleet.own.failure = ModelLoadFailed("too large", preconditions=[("MODEL_LOADS", "m", "too large")])

    with pytest.raises(ModelLoadFailed, match="not done by worker 1 of 3: too large") as raised:
        fleet.load()

    assert raised.value.preconditions == (("MODEL_LOADS", "m", "too large"),)
    assert all(worker.asked for worker in fleet.workers)


def test_a_worker_that_is_still_loading_is_an_error_and_not_away(fleet):
    fleet.workers[0].on_load = refuse(code_pb2.UNAVAILABLE, "being loaded", error_details_pb2.ErrorInfo(reason="MODEL_LOADING"))

    with pytest.raises(DomainError, match="not done by worker 2 of 3: being loaded"):
        fleet.load()


def test_a_worker_that_does_not_end_is_given_up_before_the_caller_leaves(fleet):
    leaving = threading.Event()

    def hang(request: pb.LoadModelRequest, context: Any) -> served_model_pb2.ServedModel:
        context.add_callback(leaving.set)
        assert leaving.wait(30)
        return ready(request, context)

    fleet.workers[0].on_load = hang

    with pytest.raises(PeerTimeout, match="worker 2 of serving did not answer in time"):
        fleet.load(left_s=1.0)


def test_a_worker_that_goes_away_while_it_loads_is_passed_over(fleet):
    def die(request: pb.LoadModelRequest, context: Any) -> served_model_pb2.ServedModel:
        context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        raise AssertionError("the call was aborted")

    fleet.workers[0].on_load = die

    assert fleet.load().state == READY


def test_a_worker_that_is_not_ready_is_not_asked(fleet):
    fleet.workers[0].health.set(SERVING_SERVICE, health_pb2.HealthCheckResponse.NOT_SERVING)

    assert fleet.load().state == READY
    assert not fleet.workers[0].asked


def test_a_worker_that_is_not_there_is_not_waited_for(fleet):
    fleet.servers[0].stop(None).wait()

    assert fleet.load().state == READY


def test_a_fault_of_a_worker_is_nobodys_refusal(fleet):
    fleet.workers[0].on_load = refuse(code_pb2.INTERNAL, "a bug")

    with pytest.raises(grpc.RpcError) as raised:
        fleet.load()

    assert raised.value.code() is grpc.StatusCode.INTERNAL


def unload(fleet: Fleet) -> list[int]:
    return list(fleet.servicer.UnloadModel(pb.UnloadModelRequest(model="m"), Context()).unloaded_versions)


def test_what_was_unloaded_anywhere_is_told(fleet):
    fleet.own.unloads, fleet.workers[1].unloads = [3], [1, 3]

    assert unload(fleet) == [1, 3]


def test_what_only_another_worker_had_is_unloaded(fleet):
    fleet.own.failure = ModelNotLoaded("m is not loaded")
    fleet.workers[0].unloads = [2]

    assert unload(fleet) == [2]


def test_what_nobody_had_is_not_found(fleet):
    fleet.own.failure = ModelNotLoaded("m is not loaded")

    with pytest.raises(ModelNotLoaded, match=r"^m is not loaded$"):
        unload(fleet)


def test_what_cannot_be_unloaded_here_is_an_error_though_another_worker_has_unloaded_it(fleet):
    fleet.own.failure = ModelLoading("being loaded")
    fleet.workers[0].unloads = [2]

    with pytest.raises(ModelLoading, match="not done by worker 1"):
        unload(fleet)


def test_all_pages_of_all_workers_are_in_a_list(fleet, monkeypatch):
    monkeypatch.setattr(fleet_module, "_PAGE_SIZE", 2)
    fleet.own.lists, fleet.workers[0].lists, fleet.workers[1].lists = list("abcde"), list("cdefg"), list("h")

    listed = fleet.servicer.ListServedModels(pb.ListServedModelsRequest(), Context())

    assert [model.name for model in listed.models] == list("abcdefgh")


def test_a_list_is_what_the_others_have_while_one_is_away(fleet):
    fleet.own.lists, fleet.workers[0].lists, fleet.workers[1].lists = ["a"], ["b"], ["c"]
    fleet.servers[0].stop(None).wait()

    listed = fleet.servicer.ListServedModels(pb.ListServedModelsRequest(), Context())

    assert [model.name for model in listed.models] == ["a", "c"]
