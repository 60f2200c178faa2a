"""What the process of a model does with its messages. Imports ONNX Runtime: `__main__` imports it at a low priority."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from servers.serving.errors import ModelLoadFailed, ModelRunRefused, PredictionTooLarge
from servers.serving.model_process.frames import MalformedFrame
from servers.serving.model_process.interrupts import InterruptReceiver
from servers.serving.model_process.messages import LOAD, Answer, Load, Ready, Refusal, Run
from servers.serving.model_process.packed_tensors import NamedTensor
from servers.serving.onnx_session import OnnxSession, run_options

_NO_MEMORY = "bad_alloc"
"""What ONNX Runtime says where its own allocator was not the one that failed."""


class ModelRunner:
    """The loaded model.

    Args:
        request: Which, and how.

    Raises:
        ModelLoadFailed: If ONNX Runtime refuses it.
    """

    def __init__(self, request: Load) -> None:
        try:
            self._session = OnnxSession(Path(request.path), intra_op_threads=request.intra_op_threads, is_alone=True)
        except ModelLoadFailed as error:
            if request.memory_limit_bytes and _NO_MEMORY in error.message:
                limit = f"{request.memory_limit_bytes:,} bytes"
                raise ModelLoadFailed(f"the model needs more memory than its process may take, {limit}") from None
            raise
        self.ready = Ready(self._session.signature, self._session.warm_up())

    def run(self, request: Run, interrupts: InterruptReceiver) -> Answer | Refusal:
        """Runs the model.

        Args:
            request: On what.
            interrupts: Whence it may be ended early; it is refused then.

        Raises:
            MalformedFrame: If there is no such output.
        """
        specs = self._session.signature.outputs
        indexes = request.outputs or range(len(specs))
        if any(index >= len(specs) for index in indexes):
            raise MalformedFrame(f"the model has {len(specs)} outputs")
        feeds = {tensor.name: tensor.array for tensor in request.inputs}
        options = run_options()
        interrupts.begin(request.call, partial(setattr, options, "terminate", True))
        try:
            arrays = self._session.run(feeds, request.outputs, options)
        except (ModelRunRefused, PredictionTooLarge) as error:
            reason = PredictionTooLarge.reason if _NO_MEMORY in error.message else error.reason
            return Refusal(request.call, reason, error.message)
        named = zip(indexes, arrays, strict=True)
        return Answer(request.call, [NamedTensor(specs[index].name, specs[index].datatype, array) for index, array in named])


def load(request: Load) -> ModelRunner | Refusal:
    """Loads and warms a model, or says why not."""
    try:
        return ModelRunner(request)
    except ModelLoadFailed as error:
        return Refusal(LOAD, error.reason, error.message)
