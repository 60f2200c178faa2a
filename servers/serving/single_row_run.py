"""Runs of one small row through memory that stays bound: no tensor is made for ONNX Runtime, and none by it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from servers.serving.signature import DYNAMIC, Signature, TensorSpec
from servers.serving.tensors import Feeds

if TYPE_CHECKING:
    import onnxruntime

_MAX_BYTES = 64 * 1024
"""Inputs and outputs together; beyond it, copying costs more than binding saves."""

_UNBOUND = ("BYTES", "BF16")


class SingleRowRun:
    """Runs a model on exactly one row, or on inputs whose shape is fixed.

    The buffers belong to this object and live as long as the binding that points into them; callers get copies.

    Args:
        session: The model.
        signature: What it takes and gives. `is_possible` says whether this class is for it.
    """

    def __init__(self, session: onnxruntime.InferenceSession, signature: Signature) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._inputs = [(spec.name, _buffer(spec)) for spec in signature.required]
        self._outputs = [_buffer(spec) for spec in signature.outputs]
        for name, buffer in self._inputs:
            self._binding.bind_cpu_input(name, buffer)
        for spec, buffer in zip(signature.outputs, self._outputs, strict=True):
            self._binding.bind_output(spec.name, "cpu", 0, buffer.dtype, list(buffer.shape), buffer.ctypes.data)
        # One run at a time uses the buffers; whoever comes meanwhile takes the other way.
        self._lock = threading.Lock()

    @staticmethod
    def is_possible(signature: Signature) -> bool:
        """Whether shapes are known once the rows are, and everything is small."""
        specs = (*signature.required, *signature.outputs)
        if not signature.required or any(spec.datatype in _UNBOUND or DYNAMIC in spec.shape[1:] for spec in specs):
            return False
        # Unnamed first dimensions are taken for the rows; ONNX Runtime refuses to write an output of another shape than was bound.
        rows = {spec.symbols[0] for spec in specs if spec.shape and spec.shape[0] == DYNAMIC and spec.symbols}
        if len(rows - {""}) > 1:
            return False
        return sum(_size(spec) for spec in specs) <= _MAX_BYTES

    def run(self, feeds: Feeds) -> list[np.ndarray[Any, Any]] | None:
        """Runs the model.

        Args:
            feeds: Checked against the signature.

        Returns:
            All outputs; None where the inputs are not one row, or another run is under way.
        """
        inputs = self._inputs
        if len(feeds) != len(inputs):
            return None
        for name, buffer in inputs:
            if feeds[name].shape != buffer.shape:
                return None
        if not self._lock.acquire(blocking=False):
            return None
        try:
            for name, buffer in inputs:
                buffer[...] = feeds[name]
            self._session.run_with_iobinding(self._binding)
            return [buffer.copy() for buffer in self._outputs]
        finally:
            self._lock.release()


def _shape(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(1 if extent == DYNAMIC else extent for extent in spec.shape)


def _size(spec: TensorSpec) -> int:
    return int(np.prod(_shape(spec), dtype=np.int64)) * spec.element.dtype.itemsize


def _buffer(spec: TensorSpec) -> np.ndarray[Any, Any]:
    return np.zeros(_shape(spec), dtype=spec.element.dtype)
