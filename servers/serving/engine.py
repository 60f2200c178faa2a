"""One prediction, whatever the protocol it came by: choose the version, read the inputs, run the model, say who answered.

Nothing here knows of gRPC or HTTP, so that every listener calls the same functions: the grpcio servicer, and a worker that batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from servers.runtime.errors import DomainError
from servers.runtime.tracing import span
from servers.serving import json_body, tensors
from servers.serving.entries import Entry, Loaded
from servers.serving.errors import InvalidModelChoice, UnknownOutput
from servers.serving.json_answer import predictions_json
from servers.serving.json_body import PredictBody
from servers.serving.loaded_models import LoadedModels
from servers.serving.model_source import ModelChoice, model_choice
from servers.serving.resolution import Resolver
from servers.serving.signature import DYNAMIC, Signature, TensorSpec, names_of
from servers.serving.tensors import Feeds, RawTensor

RUN_SPAN = "onnxruntime.run"
"""Name of the span around a model's run."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model answered.

    Args:
        outputs: Each output wanted, with its specification, in the signature's order or the one asked for.
        name: Name of the model.
        version: Version that answered.
        digest: Digest of the file that was run.
        prediction_id: Identifies the prediction.
    """

    outputs: tuple[tuple[TensorSpec, np.ndarray[Any, Any]], ...]
    name: str
    version: int
    digest: str
    prediction_id: str


@dataclass(frozen=True, slots=True)
class JsonCall:
    """A JSON prediction as it came: what path and query say, and the body.

    Args:
        body: The JSON.
        project: Project of the model; empty means `default`.
        model: Name of the model; empty where the body has it.
        version: Version number; 0 = not chosen here.
        alias: Alias; empty = not chosen here.
        stage: Stage; empty = not chosen here.
        wait_s: Longest time to wait for the model to be loaded, in seconds; None leaves it to the server.
    """

    body: bytes
    project: str = ""
    model: str = ""
    version: int = 0
    alias: str = ""
    stage: str = ""
    wait_s: float | None = None


class PredictionEngine:
    """Answers predictions.

    Args:
        resolver: Finds versions.
        models: Holds them in memory.
        bodies: Parses JSON.
        new_id: Makes prediction ids.
        now: The time now.
    """

    def __init__(
        self,
        resolver: Resolver,
        models: LoadedModels,
        bodies: json_body.BodyParser,
        *,
        new_id: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._resolver = resolver
        self._models = models
        self._bodies = bodies
        self._new_id = new_id
        self._now = now

    def predict(
        self, choice: ModelChoice, inputs: Sequence[RawTensor], output_names: Sequence[str] = (), wait_s: float | None = None
    ) -> Prediction:
        """Predicts on typed tensors.

        Args:
            choice: Which version.
            inputs: One tensor an input of the signature.
            output_names: Outputs wanted; empty means all.
            wait_s: Longest time to wait for the model to be loaded, in seconds; None leaves it to the server.

        Raises:
            servers.runtime.errors.DomainError: See `servers.serving.errors`.
        """
        return self._answer(choice, lambda signature: tensors.feeds_of(signature, inputs), output_names, wait_s)

    def predict_json(self, call: JsonCall) -> bytes:
        """Predicts on JSON and answers JSON; the forms are those of `json_body` and `json_answer`.

        Raises:
            servers.runtime.errors.DomainError: See `servers.serving.errors`.
        """
        with self._bodies.open(call.body) as body:
            parsed = body.parsed
            choice = chosen(call, parsed)
            output_names = parsed.output_names
            del parsed  # its values go as soon as they are tensors
            prediction = self._answer(choice, body.feeds, output_names, call.wait_s)
        return predictions_json(
            prediction.outputs,
            name=prediction.name,
            version=prediction.version,
            digest=prediction.digest,
            prediction_id=prediction.prediction_id,
        )

    def _answer(
        self, choice: ModelChoice, read: Callable[[Signature], Feeds], output_names: Sequence[str], wait_s: float | None
    ) -> Prediction:
        with self._models.lease(self._resolver.resolve(choice), wait_s) as (entry, loaded):
            try:
                return self._run(entry, loaded, read, output_names)
            except DomainError:
                entry.statistics.failed()
                loaded.metrics.failed()
                raise

    def _run(self, entry: Entry, loaded: Loaded, read: Callable[[Signature], Feeds], output_names: Sequence[str]) -> Prediction:
        signature = loaded.session.signature
        indexes = _output_indexes(signature, output_names)
        feeds = read(signature)
        rows = _rows(signature, feeds)
        prediction_id = self._new_id()
        source = entry.source
        with span(RUN_SPAN) as running:
            running.set("mlmesh.project", source.project)
            running.set("mlmesh.model", source.name)
            running.set("mlmesh.version", source.version)
            running.set("mlmesh.digest", loaded.digest)
            running.set("mlmesh.rows", rows)
            running.set("mlmesh.prediction_id", prediction_id)
            started = time.perf_counter()
            arrays = loaded.session.run(feeds, indexes)
            run_s = time.perf_counter() - started
        entry.statistics.answered(rows, run_s, self._now())
        loaded.metrics.answered(rows, run_s)
        outputs = tuple((signature.outputs[index], array) for index, array in zip(indexes, arrays, strict=True))
        return Prediction(outputs, source.name, source.version, loaded.digest, prediction_id)


def chosen(call: JsonCall, body: PredictBody) -> ModelChoice:
    """Puts together what path, query and body say about the model. What two of them say has to be the same.

    Raises:
        InvalidModelChoice: If they differ, or `model_choice` refuses them.
    """
    both = {
        "model": (call.model, body.model),
        "version": (call.version, body.version),
        "alias": (call.alias, body.alias),
        "stage": (call.stage, body.stage),
    }
    for field, (outside, inside) in both.items():
        if outside and inside and outside != inside:
            text = f"the body says {field} `{inside}`, path or query say `{outside}`; say it once"
            raise InvalidModelChoice(text, field_violations=[(f"body.{field}", text)])
    return model_choice(
        call.model or body.model,
        project=call.project,
        version=call.version or body.version,
        alias=call.alias or body.alias,
        stage=call.stage or body.stage,
    )


def _output_indexes(signature: Signature, names: Sequence[str]) -> tuple[int, ...]:
    try:
        return signature.output_indexes(names)
    except KeyError as error:
        index = list(names).index(error.args[0])
        text = f"the model has no output `{error.args[0][:100]}`; its outputs are {names_of(signature.outputs)}"
        raise UnknownOutput(text, field_violations=[(f"output_names[{index}]", text)]) from None


def _rows(signature: Signature, feeds: Feeds) -> int:
    """Rows of a prediction: the extent of the first input's first dimension where that may vary, else 1."""
    spec = next(iter(signature.inputs), None)
    return int(feeds[spec.name].shape[0]) if spec is not None and spec.shape and spec.shape[0] == DYNAMIC else 1
