from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from prometheus_client import CollectorRegistry

from servers.runtime.errors import DomainError
from servers.serving.batch_queue import BatchLimits, CloseReason
from servers.serving.batching import Batcher
from servers.serving.engine import JsonCall, Prediction, PredictionEngine
from servers.serving.entries import Limits, Loaded, State, loaded_model
from servers.serving.errors import InvalidPredictBody, InvalidTensor, ModelOverloaded, ModelRunRefused, UnknownOutput
from servers.serving.json_body import BodyParser
from servers.serving.loaded_models import LoadedModels
from servers.serving.metrics import ServingMetrics
from servers.serving.model_source import ModelChoice, SourceVersion
from servers.serving.onnx_session import OnnxSession
from servers.serving.prediction_ids import new_prediction_id
from servers.serving.resolution import Resolver
from servers.serving.statistics import StatisticsView
from servers.serving.tensors import RawTensor
from tests.small_mesh import onnx_models
from tests.unit.serving.conftest import MemorySource

FLIGHTS = ModelChoice("default", "flights")
LINEAR = onnx_models.linear()


class Serving:
    """An engine over models in memory."""

    def __init__(self, source: MemorySource, models: dict[str, bytes]) -> None:
        self.source = source
        self.onnx = models
        self.load_gate = threading.Event()
        self.load_gate.set()
        self.metrics = ServingMetrics(CollectorRegistry())
        self.limits = BatchLimits(max_rows=64, max_bytes=1 << 20, max_queued_rows=1000, max_queued_calls=100)
        self.models = LoadedModels(self.load, Limits(8, 10**9, 8, 8, 10), now=lambda: datetime.now(UTC))
        self.resolver = Resolver(source, ttl_s=3600, timeout_s=1, refresh_timeout_s=1)
        bodies = BodyParser(10_000_000, 1_000_000)
        self.engine = PredictionEngine(self.resolver, self.models, Batcher(0.01), bodies, new_id=new_prediction_id)
        for name in models:
            source.save(name, model_onnx=b"-")

    def load(self, version: SourceVersion, reserve: Any) -> Loaded:
        assert self.load_gate.wait(10)
        session = OnnxSession(self.onnx[version.name])
        return loaded_model(version, session, f"sha256:{version.name}", 1, self.metrics.version(version), self.limits)

    def statistics(self, name: str = "flights") -> StatisticsView:
        return next(view.statistics for view in self.models.views("default") if view.name == name)

    async def predict(self, x: Any, name: str = "flights", **arguments: Any) -> Prediction:
        array = np.asarray(x, "<f4")
        tensor = RawTensor("x", "FP32", array.shape, array.tobytes())
        return await self.engine.predict(ModelChoice("default", name), [tensor], **arguments)

    async def ask(self, body: object, **fields: Any) -> Any:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        return orjson.loads(await self.engine.predict_json(JsonCall(data, model="flights", **fields)))


@pytest.fixture
def serving(source) -> Iterator[Serving]:
    made = Serving(source, {"flights": LINEAR, "other": onnx_models.linear(seed=8), "lookup": onnx_models.gather(5)})
    yield made
    made.load_gate.set()
    made.engine.close()
    made.models.close()


def rows(count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(count, 4)).astype("f4")


def test_a_lone_prediction_has_the_bits_of_onnx_runtime_and_says_who_answered(serving):
    for count in (1, 3):
        prediction = asyncio.run(serving.predict(rows(count)))

        ((spec, array),) = prediction.outputs
        assert array.tobytes() == onnx_models.run(LINEAR, {"x": rows(count)})[0].tobytes()
        assert (spec.name, prediction.name, prediction.version, prediction.digest) == ("y", "flights", 1, "sha256:flights")


def test_predictions_of_one_turn_share_a_run_whatever_they_came_by(serving):
    async def main() -> list[Any]:
        await serving.predict(rows(1))
        typed = [serving.predict(rows(1 + index, index)) for index in range(4)]
        asked = [serving.ask({"instances": rows(2, 9).tolist()})]
        return await asyncio.gather(*typed, *asked)

    *typed, asked = asyncio.run(main())

    for index, prediction in enumerate(typed):
        np.testing.assert_allclose(prediction.outputs[0][1], onnx_models.run(LINEAR, {"x": rows(1 + index, index)})[0], rtol=1e-5)
    np.testing.assert_allclose(asked["predictions"], onnx_models.run(LINEAR, {"x": rows(2, 9)})[0], rtol=1e-5)
    assert len({prediction.prediction_id for prediction in typed}) == 4
    statistics = serving.statistics()
    assert (statistics.success_count, statistics.run_count, statistics.row_count) == (6, 2, 13)
    assert [(size.rows, size.run_count) for size in statistics.batch_sizes] == [(1, 1), (12, 1)]
    assert statistics.close_reasons == {CloseReason.TURN_ENDED: 2}


def test_models_do_not_share_runs_with_each_other(serving):
    async def main() -> list[Prediction]:
        return await asyncio.gather(*(serving.predict(rows(1, index), name) for index in range(3) for name in ("flights", "other")))

    predictions = asyncio.run(main())

    assert [prediction.digest for prediction in predictions] == ["sha256:flights", "sha256:other"] * 3
    for index, prediction in enumerate(predictions):
        model = LINEAR if index % 2 == 0 else serving.onnx["other"]
        np.testing.assert_allclose(prediction.outputs[0][1], onnx_models.run(model, {"x": rows(1, index // 2)})[0], rtol=1e-5)


def test_one_bad_prediction_among_many_fails_alone(serving):
    async def lookup(index: int) -> Any:
        tensor = RawTensor("index", "INT64", (1,), np.array([index], "<i8").tobytes())
        return await serving.engine.predict(ModelChoice("default", "lookup"), [tensor])

    async def main() -> list[Any]:
        await lookup(1)
        return await asyncio.gather(*(lookup(index) for index in (0, 3, 77, 4)), return_exceptions=True)

    answers = asyncio.run(main())

    assert [answer.outputs[0][1].tolist() for answer in answers if isinstance(answer, Prediction)] == [[0], [3], [4]]
    assert isinstance(answers[2], ModelRunRefused)
    statistics = serving.statistics("lookup")
    assert (statistics.success_count, statistics.failure_count, statistics.run_count) == (4, 1, 6)


@pytest.mark.parametrize(
    ("predict", "error"),
    [
        (lambda serving: serving.predict(np.zeros((1, 5))), InvalidTensor),
        (lambda serving: serving.predict(rows(1), output_names=["z"]), UnknownOutput),
        (lambda serving: serving.ask({"instances": [[1]]}), InvalidTensor),
    ],
)
def test_a_prediction_that_is_refused_counts_and_holds_nothing(serving, predict, error):
    asyncio.run(serving.predict(rows(1)))

    with pytest.raises(error):
        asyncio.run(predict(serving))

    assert serving.statistics().failure_count == 1
    assert serving.models.unload("default", "flights") == [1]


def test_a_body_that_is_no_prediction_is_refused(serving):
    with pytest.raises(InvalidPredictBody):
        asyncio.run(serving.ask(b"{"))


def test_the_loop_goes_on_while_a_version_is_asked_for_and_loaded(serving, gate):
    serving.load_gate.clear()
    serving.source.before_answer = lambda: gate.wait(10)

    async def main() -> list[str]:
        order = []
        waiting = asyncio.create_task(serving.predict(rows(1)))
        await asyncio.sleep(0)
        order.append("while the registry is asked")
        gate.set()
        while not serving.models.views("default"):
            await asyncio.sleep(0)
        order.append("while the model is loaded")
        assert serving.models.views("default")[0].state is State.LOADING
        serving.load_gate.set()
        await waiting
        return order

    assert asyncio.run(main()) == ["while the registry is asked", "while the model is loaded"]


def test_what_is_at_hand_is_queued_without_a_pause(serving):
    async def main() -> bool:
        await serving.predict(rows(1))
        coroutine = serving.predict(rows(1))
        ticket = coroutine.send(None)  # runs to its first pause
        is_ticket = asyncio.isfuture(ticket)
        coroutine.close()
        return is_ticket

    assert asyncio.run(main())
    assert serving.models.unload("default", "flights") == [1], "a prediction that was given up holds nothing"


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_body_outlives_a_load(serving, size):
    answer = asyncio.run(serving.ask({"instances": [[1, 2, 3, 4]] * size}))

    assert len(answer["predictions"]) == size


def test_callers_who_leave_are_counted_and_not_run(serving):
    async def main() -> None:
        await serving.predict(rows(1))
        tasks = [asyncio.create_task(serving.predict(rows(1, seed))) for seed in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait(tasks)

    asyncio.run(main())

    statistics = serving.statistics()
    assert (statistics.success_count, statistics.abandoned_count, statistics.row_count) == (3, 1, 3)


def test_calls_beyond_what_may_wait_are_refused_with_a_time_to_come_back(serving):
    async def main() -> list[Any]:
        await serving.predict(rows(1))
        return await asyncio.gather(*(serving.predict(rows(1)) for _ in range(110)), return_exceptions=True)

    answers = asyncio.run(main())

    refused = [answer for answer in answers if isinstance(answer, DomainError)]
    assert len(refused) == 10
    assert all(isinstance(error, ModelOverloaded) and error.retry_after_s for error in refused)
    assert "`flights` version 1" in refused[0].message
    assert (serving.statistics().refused_count, serving.statistics().failure_count) == (10, 10)


def test_a_model_is_unloaded_while_predictions_wait_and_they_are_answered(serving):
    async def main() -> Prediction:
        await serving.predict(rows(1))
        waiting = asyncio.create_task(serving.predict(rows(1)))
        await asyncio.sleep(0)
        unloading = asyncio.get_running_loop().run_in_executor(None, serving.models.unload, "default", "flights")
        prediction = await waiting
        assert await unloading == [1]
        return prediction

    assert asyncio.run(main()).version == 1
    assert serving.models.views("default") == []
