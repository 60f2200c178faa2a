"""MLServer's way to serve a model that it has no runtime for: a class of one's own."""

from __future__ import annotations

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_sessions import OnnxModel


class OnnxRuntime(MLModel):
    """Serves one ONNX file."""

    async def load(self) -> bool:
        """Loads the file that `parameters.uri` names."""
        self._model = OnnxModel(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predicts one tensor."""
        predicted = self._model.predict(NumpyCodec.decode_input(payload.inputs[0]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", predicted)])
