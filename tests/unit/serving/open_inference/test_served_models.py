from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from mlops.common.v1 import tensor_pb2
from mlops.serving.v1 import served_model_pb2 as pb
from mlops.serving.v1 import serving_service_pb2

from servers.serving.errors import ModelLoadFailed, ModelLoading, ModelNotFound
from servers.serving.model_source import ModelChoice, SourceVersion
from servers.serving.open_inference.served_models import ServedModels

CONTEXT: Any = None
READY, FAILED = pb.SERVED_MODEL_STATE_READY, pb.SERVED_MODEL_STATE_FAILED


def model(name: str, version: int, state: pb.ServedModelState.ValueType = READY, **facts: Any) -> pb.ServedModel:
    signature = tensor_pb2.Signature(inputs=[tensor_pb2.TensorSpec(name="x")]) if state == READY else None
    return pb.ServedModel(name=name, version=version, project="default", state=state, signature=signature, **facts)


@dataclass
class Servicer:
    """The mesh's own contract, with what a test has put into memory."""

    models: list[pb.ServedModel] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    loaded: pb.ServedModel = field(default_factory=lambda: model("m", 2))

    def ListServedModels(self, request: Any, context: Any) -> Any:
        start = int(request.page_token or 0)
        token = str(start + 1) if start + 1 < len(self.models) else ""
        return serving_service_pb2.ListServedModelsResponse(models=self.models[start : start + 1], next_page_token=token)

    def LoadModel(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return self.loaded

    def UnloadModel(self, request: Any, context: Any) -> None:
        self.asked.append(request)


class Resolver:
    """A registry whose newest version is 2, which the alias `champion` stands for too."""

    def resolve(self, choice: ModelChoice) -> SourceVersion:
        if choice.name != "m":
            raise ModelNotFound("there is none")
        return SourceVersion("default", "m", choice.version or 2, "onnx", "model.onnx", ())


def served(servicer: Servicer) -> ServedModels:
    return ServedModels(cast(Any, Resolver()), cast(Any, servicer))


def test_a_loaded_version_is_described_without_loading_it() -> None:
    servicer = Servicer([model("m", 1), model("m", 2)])

    assert served(servicer).describe(ModelChoice("default", "m"), CONTEXT).version == 2
    assert servicer.asked == []


def test_a_version_that_is_not_loaded_is_loaded_to_be_described_under_its_number() -> None:
    servicer = Servicer([model("m", 1)])

    served(servicer).describe(ModelChoice("default", "m", alias="champion"), CONTEXT)

    assert servicer.asked == [serving_service_pb2.LoadModelRequest(project="default", model="m", version=2)]


def test_a_version_that_could_not_be_loaded_is_not_tried_again_for_a_description() -> None:
    servicer = Servicer([model("m", 2, FAILED, error="damaged")])

    with pytest.raises(ModelLoadFailed, match="damaged"):
        served(servicer).describe(ModelChoice("default", "m"), CONTEXT)
    assert servicer.asked == []


def test_a_version_that_leaves_while_it_is_described_may_be_asked_for_again() -> None:
    servicer = Servicer(loaded=pb.ServedModel(name="m", version=2))

    with pytest.raises(ModelLoading, match="try again"):
        served(servicer).describe(ModelChoice("default", "m"), CONTEXT)


@pytest.mark.parametrize(
    ("choice", "is_ready"),
    [
        (ModelChoice("default", "m"), True),
        (ModelChoice("default", "m", version=1), False),
        (ModelChoice("default", "m", version=3), False),
        (ModelChoice("default", "unknown"), False),
    ],
)
def test_ready_is_what_is_in_memory(choice: ModelChoice, is_ready: bool) -> None:
    servicer = Servicer([model("m", 1, FAILED), model("m", 2)])

    assert served(servicer).is_ready(choice, CONTEXT) is is_ready


def test_statistics_are_of_all_of_a_model_or_of_a_version() -> None:
    asked = served(Servicer([model("m", 1), model("m", 2), model("m", 3, FAILED), model("other", 1)]))

    def versions(name: str, version: str) -> list[tuple[str, int]]:
        return [(found.name, found.version) for found in asked.counted(name, version, "default", CONTEXT)]

    assert versions("", "") == [("m", 1), ("m", 2), ("other", 1)]
    assert versions("m", "") == [("m", 1), ("m", 2)]
    assert versions("m", "1") == [("m", 1)]
    assert versions("m", "champion") == [("m", 2)]
    with pytest.raises(ModelNotFound):
        versions("unknown", "")


def test_an_alias_is_unloaded_by_the_number_it_stands_for() -> None:
    servicer = Servicer()

    served(servicer).unload(ModelChoice("default", "m", alias="champion"), CONTEXT)
    served(servicer).unload(ModelChoice("default", "m"), CONTEXT)

    assert [request.version for request in servicer.asked] == [2, 0]
