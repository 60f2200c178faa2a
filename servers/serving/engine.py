"""One prediction, whatever the protocol it came by: choose the version, read the inputs, run the model, say who answered.

Nothing here knows of gRPC or HTTP, so that every listener calls the same functions. They are coroutines of one event loop. Where the
version is known and loaded, they run without a pause until their inputs are queued; whatever blocks happens in threads.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from servers.runtime.errors import DomainError
from servers.runtime.tracing import is_recorded, span
from servers.serving import json_body, tensors
from servers.serving.batch_queue import Outputs, WaitingCall
from servers.serving.batching import Batcher
from servers.serving.entries import Entry, Loaded
from servers.serving.errors import InvalidModelChoice, UnknownOutput
from servers.serving.json_answer import predictions_json
from servers.serving.json_body import PredictBody
from servers.serving.loaded_models import LoadedModels
from servers.serving.model_source import ModelChoice, SourceVersion, model_choice
from servers.serving.resolution import Resolver
from servers.serving.signature import Signature, TensorSpec, names_of
from servers.serving.tensors import Feeds, RawTensor

RUN_SPAN = "onnxruntime.run"
"""Name of the span around a model's run, and the wait for it."""

_LARGE_BODY_BYTES = 1 << 20
"""JSON above this is not kept as Python objects while something else is awaited; it takes up to 25 times its size."""


class Prediction(NamedTuple):
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


class JsonCall(NamedTuple):
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
    """Answers predictions. Its coroutines belong to one event loop.

    Args:
        resolver: Finds versions.
        models: Holds them in memory.
        batcher: Runs them.
        bodies: Parses JSON.
        new_id: Makes prediction ids.
        resolve_threads: Calls that ask the registry at the same time.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        resolver: Resolver,
        models: LoadedModels,
        batcher: Batcher,
        bodies: json_body.BodyParser,
        *,
        new_id: Callable[[], str],
        resolve_threads: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver = resolver
        self._models = models
        self._batcher = batcher
        self._bodies = bodies
        self._new_id = new_id
        self._clock = clock
        self._asking = ThreadPoolExecutor(resolve_threads, thread_name_prefix="resolve-model")

    async def predict(
        self, choice: ModelChoice, inputs: Sequence[RawTensor], output_names: Sequence[str] = (), wait_s: float | None = None
    ) -> Prediction:
        """Predicts on typed tensors.

        Args:
            choice: Which version.
            inputs: One tensor an input of the signature.
            output_names: Outputs wanted; empty means all.
            wait_s: How long the caller waits for the answer, in seconds; None where that is not known.

        Raises:
            servers.runtime.errors.DomainError: See `servers.serving.errors`.
        """
        deadline = None if wait_s is None else self._clock() + wait_s
        entry = self._at_hand(choice) or await self._brought(choice, wait_s)
        try:
            feeds = tensors.feeds_of(entry.model.session.signature, inputs)
            return await self._run(entry, feeds, output_names, deadline)
        except DomainError:
            entry.model.statistics.failed()
            raise
        finally:
            self._models.release(entry)

    async def predict_json(self, call: JsonCall) -> bytes:
        """Predicts on JSON and answers JSON; the forms are those of `json_body` and `json_answer`.

        Raises:
            servers.runtime.errors.DomainError: See `servers.serving.errors`.
        """
        deadline = None if call.wait_s is None else self._clock() + call.wait_s
        body: PredictBody | None = self._bodies.open(call.body)
        assert body is not None  # noqa: S101  # it becomes None below
        choice, output_names = chosen(call, body), body.output_names
        entry = self._at_hand(choice)
        if entry is None:
            if len(call.body) > _LARGE_BODY_BYTES:
                body = None
            entry = await self._brought(choice, call.wait_s)
        try:
            feeds = json_body.feeds_of(entry.model.session.signature, body or self._bodies.open(call.body))
            del body  # its values go as soon as they are tensors
            prediction = await self._run(entry, feeds, output_names, deadline)
        except DomainError:
            entry.model.statistics.failed()
            raise
        finally:
            self._models.release(entry)
        return predictions_json(
            prediction.outputs,
            name=prediction.name,
            version=prediction.version,
            digest=prediction.digest,
            prediction_id=prediction.prediction_id,
        )

    def close(self) -> None:
        """Ends the threads. Called after the last prediction."""
        self._asking.shutdown(wait=False, cancel_futures=True)

    def _at_hand(self, choice: ModelChoice) -> Entry | None:
        """Leases the version that a choice stands for, if it is known and loaded."""
        version = self._resolver.known(choice)
        return None if version is None else self._models.try_lease(version)

    async def _brought(self, choice: ModelChoice, wait_s: float | None) -> Entry:
        """Leases the version that a choice stands for, and waits for whatever that takes."""
        started = self._clock()
        version = self._resolver.known(choice) or await self._asked(choice)
        return await self._models.lease(version, None if wait_s is None else max(0.0, wait_s - (self._clock() - started)))

    async def _asked(self, choice: ModelChoice) -> SourceVersion:
        """Asks the registry in a thread, within the call's own context: its trace goes along."""
        run = contextvars.copy_context().run
        return await asyncio.get_running_loop().run_in_executor(self._asking, run, self._resolver.resolve, choice)

    async def _run(self, entry: Entry, feeds: Feeds, output_names: Sequence[str], deadline: float | None) -> Prediction:
        loaded, source = entry.model, entry.source
        signature = loaded.session.signature
        indexes = _output_indexes(signature, output_names) if output_names else signature.all_outputs
        rows = feeds[signature.rows_input].shape[0] if signature.rows_input else 1
        timeout_s = None if deadline is None else deadline - self._clock()
        prediction_id = self._new_id()
        if not is_recorded():
            arrays: Outputs = await self._batcher.submit(loaded.queue, feeds, indexes, rows, timeout_s).ticket
        else:
            submit = functools.partial(self._batcher.submit, loaded.queue, feeds, indexes, rows, timeout_s)
            arrays = await self._traced(loaded, source, prediction_id, rows, submit)
        specs = signature.outputs if not output_names else [signature.outputs[index] for index in indexes]
        return Prediction(tuple(zip(specs, arrays, strict=True)), source.name, source.version, loaded.digest, prediction_id)

    async def _traced(
        self, loaded: Loaded, source: SourceVersion, prediction_id: str, rows: int, submit: Callable[[], WaitingCall]
    ) -> Outputs:
        with span(RUN_SPAN) as running:
            running.set("mlmesh.project", source.project)
            running.set("mlmesh.model", source.name)
            running.set("mlmesh.version", source.version)
            running.set("mlmesh.digest", loaded.digest)
            running.set("mlmesh.rows", rows)
            running.set("mlmesh.prediction_id", prediction_id)
            call = submit()
            arrays: Outputs = await call.ticket
            running.set("mlmesh.batch_rows", call.batch_rows)
            running.set("mlmesh.queue_ms", (call.started_at - call.submitted_at) * 1000)
            return arrays


def chosen(call: JsonCall, body: PredictBody) -> ModelChoice:
    """Puts together what path, query and body say about the model. What two of them say has to be the same.

    Raises:
        InvalidModelChoice: If they differ, or `model_choice` refuses them.
    """
    fields = (
        ("model", call.model, body.model),
        ("version", call.version, body.version),
        ("alias", call.alias, body.alias),
        ("stage", call.stage, body.stage),
    )
    for field, outside, inside in fields:
        if inside and outside and outside != inside:
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
