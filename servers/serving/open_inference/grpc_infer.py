"""Predictions between the messages of the protocol and the engine."""

from __future__ import annotations

from typing import Any

from google.rpc import status_pb2

from servers.serving.engine import Prediction
from servers.serving.open_inference import contract
from servers.serving.open_inference.grpc_tensors import add_output, raw_tensors
from servers.serving.open_inference.infer_call import InferCall, facts_of
from servers.serving.open_inference.model_names import PROJECT_PARAMETER, choice_of, project_of
from servers.serving.open_inference.parameters import refuse_unserved, text_of
from servers.serving.tensors import raw_of


def infer_call(request: Any) -> InferCall:
    """Reads a `ModelInferRequest`.

    Raises:
        servers.runtime.errors.DomainError: If it is none, or the caller may not predict in the project it names.
    """
    for index, output in enumerate(request.outputs):
        refuse_unserved(output.parameters, f"outputs[{index}].parameters")
    named = text_of(values_of(request.parameters), PROJECT_PARAMETER) if request.parameters else ""
    return InferCall(
        choice=choice_of(request.model_name, request.model_version, project_of(named)),
        inputs=raw_tensors(request),
        output_names=tuple(output.name for output in request.outputs),
        request_id=request.id,
    )


def infer_response(prediction: Prediction, request_id: str) -> Any:
    """Writes a `ModelInferResponse`."""
    response = contract.ModelInferResponse(model_name=prediction.name, model_version=str(prediction.version), id=request_id)
    for name, fact in facts_of(prediction).items():
        response.parameters[name].string_param = fact
    for spec, array in prediction.outputs:
        add_output(response, raw_of(spec.name, spec.datatype, array))
    return response


def streamed_response(response: Any) -> Any:
    """A prediction of a stream. Each request has one answer, and Triton's clients may wait to be told that this is it."""
    response.parameters["triton_final_response"].bool_param = True
    return contract.ModelStreamInferResponse(infer_response=response)


def streamed_failure(request_id: str, status: status_pb2.Status) -> Any:
    """The error of one request of a stream."""
    failed = contract.ModelStreamInferResponse(error_message=status.message)
    failed.infer_response.id = request_id
    return failed


def values_of(parameters: Any) -> dict[str, object]:
    """The values of a map of parameters. One without a value is None."""
    return {name: getattr(value, kind) if (kind := value.WhichOneof("parameter_choice")) else None for name, value in parameters.items()}
