"""What a prediction is to the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AnsweringModel:
    """The version that answered.

    Args:
        name: Name of the model.
        version: Version number.
        digest: SHA-256 of the file that was run.
    """

    name: str
    version: int
    digest: str


@dataclass(frozen=True)
class Prediction:
    """The answer of a model. It is an array itself where the model has one output: `numpy.asarray(prediction)`.

    Args:
        outputs: Arrays by output name, in the order of the model's signature.
        model: The version that answered.
        prediction_id: Identifies the prediction; ground truth that comes later joins by it.
    """

    outputs: Mapping[str, NDArray[Any]]
    model: AnsweringModel
    prediction_id: str

    @property
    def value(self) -> NDArray[Any]:
        """The only output.

        Raises:
            ValueError: There are several; the message names them.
        """
        if len(self.outputs) != 1:
            raise ValueError(f"the model has the outputs {', '.join(self.outputs)}: choose one with prediction[name]")
        return next(iter(self.outputs.values()))

    def __getitem__(self, output: str) -> NDArray[Any]:
        """Returns an output by its name."""
        try:
            return self.outputs[output]
        except KeyError:
            raise KeyError(f"the model has no output {output!r}; it has: {', '.join(self.outputs)}") from None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Returns the only output, so that a prediction goes wherever an array goes."""
        array = np.asarray(self.value, dtype=dtype)
        return array.copy() if copy else array


def prediction_of_json(answer: Mapping[str, Any], output_names: Sequence[str]) -> Prediction:
    """Reads the answer of a prediction over JSON.

    Args:
        answer: `{"predictions": [...], "model": {...}, "prediction_id"}`; with several outputs each prediction is an object.
        output_names: Outputs wanted; empty = all.
    """
    predictions, model = answer["predictions"], answer["model"]
    if predictions and all(isinstance(one, Mapping) for one in predictions):
        wanted = output_names or predictions[0].keys()
        outputs = {str(name): np.asarray([one[name] for one in predictions]) for name in wanted}
    else:
        outputs = {output_names[0] if output_names else "output": np.asarray(predictions)}
    return Prediction(outputs, AnsweringModel(model["name"], int(model["version"]), model["digest"]), answer["prediction_id"])
