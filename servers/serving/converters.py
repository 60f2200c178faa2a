"""Between the messages of the contract and the domain."""

from __future__ import annotations

from datetime import datetime

from google.api import httpbody_pb2
from mlops.common.v1 import tensor_pb2
from mlops.serving.v1 import served_model_pb2, serving_service_pb2

from servers.serving.batch_queue import CloseReason
from servers.serving.engine import JsonCall, Prediction
from servers.serving.entries import ModelView, State
from servers.serving.model_source import ModelChoice, model_choice
from servers.serving.signature import Signature, TensorSpec
from servers.serving.statistics import DURATION_BOUNDS_S, DurationHistogram, StatisticsView
from servers.serving.tensors import RawTensor, raw_of

_DATATYPES = {value.number: value.name.removeprefix("DATA_TYPE_") for value in tensor_pb2.DataType.DESCRIPTOR.values}
_NUMBERS = {name: tensor_pb2.DataType.Value(f"DATA_TYPE_{name}") for name in _DATATYPES.values()}
_STATES = {state: served_model_pb2.ServedModelState.Value(f"SERVED_MODEL_STATE_{state.value}") for state in State}

_CLOSE_REASONS = {reason: served_model_pb2.BatchCloseReason.Value(f"BATCH_CLOSE_REASON_{reason.value}") for reason in CloseReason}


def choice_of_selector(selector: served_model_pb2.ModelSelector, project: str) -> ModelChoice:
    """Which version a typed prediction is about."""
    return model_choice(
        selector.name, project=project, version=selector.version, alias=selector.alias, stage=selector.stage, field="model.name"
    )


def choice_of_load(request: serving_service_pb2.LoadModelRequest) -> ModelChoice:
    """Which version is to be loaded."""
    return model_choice(request.model, project=request.project, version=request.version, alias=request.alias, stage=request.stage)


def json_call(request: serving_service_pb2.PredictJsonRequest, wait_s: float | None) -> JsonCall:
    """A JSON prediction."""
    return JsonCall(
        body=request.body.data,
        project=request.project,
        model=request.model,
        version=request.version,
        alias=request.alias,
        stage=request.stage,
        wait_s=wait_s,
    )


def json_body(data: bytes) -> httpbody_pb2.HttpBody:
    """The answer to a JSON prediction."""
    return httpbody_pb2.HttpBody(content_type="application/json", data=data)


def raw_tensor(message: tensor_pb2.Tensor) -> RawTensor:
    """A tensor as it came."""
    return RawTensor(message.name, _DATATYPES[message.datatype], tuple(message.shape), message.raw)


def tensor_message(tensor: RawTensor) -> tensor_pb2.Tensor:
    """A tensor as it goes; the opposite of `raw_tensor`."""
    return tensor_pb2.Tensor(name=tensor.name, datatype=_datatype_number(tensor.datatype), shape=tensor.shape, raw=tensor.raw)


def predict_response(prediction: Prediction) -> serving_service_pb2.PredictResponse:
    """The answer to a typed prediction."""
    return serving_service_pb2.PredictResponse(
        outputs=[tensor_message(raw_of(spec.name, spec.datatype, array)) for spec, array in prediction.outputs],
        model=served_model_pb2.AnsweringModel(name=prediction.name, version=prediction.version, digest=prediction.digest),
        prediction_id=prediction.prediction_id,
    )


def signature_message(signature: Signature) -> tensor_pb2.Signature:
    """What a model takes and gives."""
    return tensor_pb2.Signature(
        inputs=[_spec_message(spec) for spec in signature.required], outputs=[_spec_message(spec) for spec in signature.outputs]
    )


def served_model(view: ModelView) -> served_model_pb2.ServedModel:
    """One loaded version."""
    message = served_model_pb2.ServedModel(
        name=view.name,
        version=view.version,
        project=view.project,
        digest=view.digest,
        state=_STATES[view.state],
        error=view.error,
        signature=signature_message(view.signature) if view.signature is not None else None,
        load_duration_ms=view.load_duration_s * 1000,
        size_bytes=view.size_bytes,
        statistics=_statistics_message(view.statistics),
    )
    _set_time(message.load_time, view.load_time)
    return message


def _statistics_message(view: StatisticsView) -> served_model_pb2.ServingStatistics:
    message = served_model_pb2.ServingStatistics(
        success_count=view.success_count,
        failure_count=view.failure_count,
        row_count=view.row_count,
        compute_ms=view.compute_s * 1000,
        refused_count=view.refused_count,
        abandoned_count=view.abandoned_count,
        run_count=view.run_count,
        queue_duration=_histogram_message(view.queue_times),
        run_duration=_histogram_message(view.run_times),
        batch_sizes=[
            served_model_pb2.BatchSizeStatistics(rows=size.rows, run_count=size.run_count, compute_ms=size.run_s * 1000)
            for size in view.batch_sizes
        ],
        batch_closes=[
            served_model_pb2.BatchCloseStatistics(reason=_CLOSE_REASONS[reason], run_count=count)
            for reason, count in sorted(view.close_reasons.items(), key=lambda item: -item[1])
        ],
        no_sharing_reason=view.sharing_refusal,
    )
    _set_time(message.last_predict_time, view.last_predict_time)
    return message


def _histogram_message(histogram: DurationHistogram) -> served_model_pb2.DurationHistogram:
    return served_model_pb2.DurationHistogram(
        bounds_ms=[bound * 1000 for bound in DURATION_BOUNDS_S], counts=histogram.counts, total_ms=histogram.total_s * 1000
    )


def _spec_message(spec: TensorSpec) -> tensor_pb2.TensorSpec:
    return tensor_pb2.TensorSpec(name=spec.name, datatype=_datatype_number(spec.datatype), shape=spec.shape)


def _datatype_number(name: str) -> tensor_pb2.DataType.ValueType:
    return _NUMBERS[name]


def _set_time(field: object, value: datetime | None) -> None:
    if value is not None:
        field.FromDatetime(value)  # type: ignore[attr-defined]  # a Timestamp
