"""What the first of several workers serves: its own predictions, and the models of all workers.

Which worker a prediction reaches is Envoy's choice, so a model that was loaded is loaded everywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from grpc import ServicerContext, StatusCode
from mlops.serving.v1 import served_model_pb2, serving_service_pb2

from servers.runtime.errors import DomainError
from servers.serving import converters
from servers.serving.engine import PredictionEngine
from servers.serving.entries import ModelView, State
from servers.serving.loaded_models import LoadedModels
from servers.serving.model_source import DEFAULT_PROJECT
from servers.serving.other_workers import Answers, OtherWorkers
from servers.serving.resolution import Resolver
from servers.serving.served_model_list import list_page
from servers.serving.served_model_union import union
from servers.serving.servicer import ServingServicer

_LOGGER = logging.getLogger(__name__)
_PAGE_SIZE = 1000
_LIST_TIMEOUT_S = 2.0
_UNLOAD_TIMEOUT_S = 30.0
_ANSWERING_S = 5.0
"""A worker gives a load up by itself, and says why; it has this long to say so, in seconds."""
_SHARE_OF_DEADLINE = 0.9
"""Part of a caller's time that is spent waiting for other workers; the rest is for telling that they were not ready."""

_List = Callable[[serving_service_pb2.ListServedModelsRequest], serving_service_pb2.ListServedModelsResponse]


class FleetServicer(ServingServicer):
    """Serves `mlops.serving.v1.ModelServingService` for all workers.

    Args:
        engine: Answers predictions.
        resolver: Finds versions.
        models: Holds those of this worker in memory.
        others: The other workers.
        load_wait_s: Longest time a worker waits for a load, in seconds.
    """

    def __init__(
        self, engine: PredictionEngine, resolver: Resolver, models: LoadedModels, others: OtherWorkers, *, load_wait_s: float
    ) -> None:
        super().__init__(engine, resolver, models)
        self._others = others
        self._load_timeout_s = load_wait_s + _ANSWERING_S

    def LoadModel(  # noqa: N802
        self, request: serving_service_pb2.LoadModelRequest, context: ServicerContext
    ) -> served_model_pb2.ServedModel:
        """Loads and warms a version on every worker: the same one everywhere, though its alias may move meanwhile."""
        version = self._resolver.ask(converters.choice_of_load(request))
        pinned = serving_service_pb2.LoadModelRequest(project=version.project, model=version.name, version=version.version)
        load, timeout_s = super().LoadModel, _within(context, self._load_timeout_s)
        answers = self._others.ask_beside(lambda: load(pinned, context), lambda worker: worker.stub.LoadModel(pinned, timeout=timeout_s))
        if answers.refused:
            raise _failure(answers, answers.refused)
        (model,) = union({number: [answer] for number, answer in answers.given.items()})
        return model

    def UnloadModel(  # noqa: N802
        self, request: serving_service_pb2.UnloadModelRequest, context: ServicerContext
    ) -> serving_service_pb2.UnloadModelResponse:
        """Unloads a version, or all of a model, from every worker."""
        unload, timeout_s = super().UnloadModel, _within(context, _UNLOAD_TIMEOUT_S)
        answers = self._others.ask_beside(
            lambda: unload(request, context), lambda worker: worker.stub.UnloadModel(request, timeout=timeout_s)
        )
        failed = {number: error for number, error in answers.refused.items() if error.code is not StatusCode.NOT_FOUND}
        if failed or not answers.given:
            raise _failure(answers, failed or answers.refused)
        versions = {version for answer in answers.given.values() for version in answer.unloaded_versions}
        return serving_service_pb2.UnloadModelResponse(unloaded_versions=sorted(versions))

    def ListServedModels(  # noqa: N802
        self, request: serving_service_pb2.ListServedModelsRequest, context: ServicerContext
    ) -> serving_service_pb2.ListServedModelsResponse:
        """Lists what is loaded, one entry a version whatever the number of workers that have it."""
        project = request.project or DEFAULT_PROJECT
        own = super().ListServedModels
        answers = self._others.ask_beside(
            lambda: _everything(lambda page: own(page, context), project),
            lambda worker: _everything(lambda page: worker.stub.ListServedModels(page, timeout=_LIST_TIMEOUT_S), project),
        )
        for number, error in answers.refused.items():
            _LOGGER.warning("worker %d does not say what it has loaded: %s", number, error.message)
        page, token = list_page(
            # It looks at nothing else of a view.
            cast("list[ModelView]", [_Listed(model) for model in union(answers.given)]),
            project=project,
            size=request.page_size,
            token=request.page_token,
            filter_text=request.filter,
            order_by=request.order_by,
        )
        models = [listed.model for listed in cast("list[_Listed]", page)]
        return serving_service_pb2.ListServedModelsResponse(models=models, next_page_token=token)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What lists look at."""

    model: served_model_pb2.ServedModel

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def version(self) -> int:
        return self.model.version

    @property
    def state(self) -> State:
        return State(served_model_pb2.ServedModelState.Name(self.model.state).removeprefix("SERVED_MODEL_STATE_"))

    @property
    def load_time(self) -> datetime | None:
        return self.model.load_time.ToDatetime(UTC) if self.model.HasField("load_time") else None


def _everything(ask: _List, project: str) -> list[served_model_pb2.ServedModel]:
    """All pages of a worker's list."""
    request = serving_service_pb2.ListServedModelsRequest(project=project, page_size=_PAGE_SIZE)
    answer = ask(request)
    models = list(answer.models)
    while answer.next_page_token:
        request.page_token = answer.next_page_token
        answer = ask(request)
        models += answer.models
    return models


def _within(context: ServicerContext, limit_s: float) -> float:
    """How long to wait for another worker, in seconds."""
    left_s = context.time_remaining()
    return limit_s if left_s is None else min(limit_s, left_s * _SHARE_OF_DEADLINE)


def _failure(answers: Answers[Any], failed: Mapping[int, DomainError]) -> DomainError:
    """The error of the first worker that failed; it says so where others did not."""
    number = min(failed)
    error = failed[number]
    if not answers.given:
        return error
    return type(error)(
        f"not done by worker {number} of {len(answers.given) + len(answers.refused)}: {error.message}",
        metadata={**error.metadata, "worker": str(number)},
        field_violations=error.field_violations,
        preconditions=error.preconditions,
        resource=error.resource,
        retry_after_s=error.retry_after_s,
        reason=error.reason,
    )
