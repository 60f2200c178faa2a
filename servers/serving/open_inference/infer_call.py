"""A prediction of the protocol, whichever way it came."""

from __future__ import annotations

from dataclasses import dataclass

from servers.serving.engine import Prediction
from servers.serving.model_source import ModelChoice
from servers.serving.tensors import RawTensor

MAX_DIMENSIONS = 32
"""Most dimensions of a tensor; ONNX Runtime and numpy have no use for more."""


@dataclass(frozen=True, slots=True)
class InferCall:
    """What is to be predicted.

    Args:
        choice: Which version.
        inputs: The inputs, as they came.
        output_names: Outputs wanted; empty means all.
        request_id: Comes back in the answer.
    """

    choice: ModelChoice
    inputs: tuple[RawTensor, ...]
    output_names: tuple[str, ...]
    request_id: str


def facts_of(prediction: Prediction) -> dict[str, str]:
    """Parameters of every answer: what answered, and the identifier by which ground truth joins later."""
    return {"mlmesh_digest": prediction.digest, "mlmesh_prediction_id": prediction.prediction_id}
