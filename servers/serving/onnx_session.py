"""One ONNX model in ONNX Runtime: made from verified bytes, run on numpy arrays.

One thread a run, and none that spins: throughput comes from batches and processes, and idle models cost nothing. Why sessions share
neither threads nor an arena: ADR 42.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from servers.serving.errors import ModelLoadFailed, ModelRunRefused, PredictionTooLarge
from servers.serving.signature import BY_ONNX_NAME, DYNAMIC, Signature, TensorSpec
from servers.serving.single_row_run import SingleRowRun
from servers.serving.tensors import Feeds

if TYPE_CHECKING:
    from onnxruntime import RunOptions

_BFLOAT16 = 16
"""`TensorProto.BFLOAT16`, which I/O binding takes where numpy has no type."""

_AS_REQUESTED = 1
"""`ArenaExtendStrategy.kSameAsRequested`."""

_MAX_DETAIL = 300
# ONNX Runtime puts paths of its own sources, and signatures of its own functions, into messages.
_NOISE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+?\.(?:cc|h|cpp):\d+\s?|\b[\w:]+::[\w:~]+\([^)]*\)\s?")
_FATAL = "Failed to allocate memory"


class OnnxSession:
    """A loaded model.

    Args:
        model: The ONNX file, or its bytes. Whoever gives it has verified its digest, and what it refers to. From a file it takes half the
            memory: ONNX Runtime's Python class keeps bytes for as long as the session lives. The file can go once this is made.
        intra_op_threads: Threads that share one operator.
        is_alone: Whether it is the only session of its process. Its memory then grows by what is asked for, and not by doubling: once a
            run was refused for want of memory, ONNX Runtime would take all that is left for the next one, however small, and refuse it.

    Raises:
        ModelLoadFailed: If ONNX Runtime refuses the file, or it takes or gives what is not a tensor.
    """

    def __init__(self, model: Path | bytes, *, intra_op_threads: int = 1, is_alone: bool = False) -> None:
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        if is_alone:
            _register_exact_arena()
            options.add_session_config_entry("session.use_env_allocators", "1")
        options.intra_op_num_threads = intra_op_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Not its own format, which it would recognise by itself: only ONNX files were looked through for what they refer to.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class, and every one means that the file cannot be run
            raise ModelLoadFailed(f"ONNX Runtime {onnxruntime.__version__} refuses the model: {_detail(error)}") from None
        self.signature = Signature(
            (
                *(_spec(argument, "input") for argument in self._session.get_inputs()),
                *(replace(_spec(argument, "input"), is_optional=True) for argument in self._session.get_overridable_initializers()),
            ),
            tuple(_spec(argument, "output") for argument in self._session.get_outputs()),
        )
        self._output_names = [spec.name for spec in self.signature.outputs]
        self._needs_binding = any(spec.datatype == "BF16" for spec in (*self.signature.inputs, *self.signature.outputs))
        self._single_row = SingleRowRun(self._session, self.signature) if SingleRowRun.is_possible(self.signature) else None

    def run(self, feeds: Feeds, outputs: Sequence[int] = (), options: RunOptions | None = None) -> list[np.ndarray[Any, Any]]:
        """Runs the model. May be called from several threads.

        Args:
            feeds: One array an input, checked against the signature.
            outputs: Positions of the outputs wanted; empty means all.
            options: Of this run only. Once another thread sets their `terminate`, it is refused after the operator that it is at.

        Returns:
            The outputs in the order of `outputs`, kept as `signature.ElementType` says.

        Raises:
            ModelRunRefused: If the model cannot be run on these inputs.
            PredictionTooLarge: If memory does not suffice.
        """
        is_all = not outputs or outputs == self.signature.all_outputs
        # Where a run has options, binding costs 37 µs instead of saving one or two.
        if self._single_row is not None and is_all and options is None:
            arrays = self._run_single_row(self._single_row, feeds)
            if arrays is not None:
                return arrays
        names = self._output_names if is_all else [self._output_names[index] for index in outputs]
        return self._run(feeds, names, options)

    def _run_single_row(self, single_row: SingleRowRun, feeds: Feeds) -> list[np.ndarray[Any, Any]] | None:
        try:
            return single_row.run(feeds)
        except Exception:  # the other way says what is wrong, as far as it is
            arrays = self._run(feeds, self._output_names, None)
        # It runs well without buffers made ahead: an output has another shape than the signature made believe.
        self._single_row = None
        return arrays

    def _run(self, feeds: Feeds, names: list[str], options: RunOptions | None) -> list[np.ndarray[Any, Any]]:
        try:
            if self._needs_binding:
                return self._run_bound(feeds, names, options)
            return self._session.run(names, feeds, options)  # type: ignore[no-any-return]  # onnxruntime is untyped
        except MemoryError:
            raise PredictionTooLarge("the inputs make the model need more memory than there is; send fewer rows a call") from None
        except Exception as error:  # its exceptions share no base class
            detail = _detail(error)
            if _FATAL in detail:
                raise PredictionTooLarge("the inputs make the model need more memory than there is; send fewer rows a call") from None
            raise ModelRunRefused(f"the inputs fit the signature, but the model does not run on them: {detail}") from None

    def warm_up(self) -> str:
        """Runs the model once on zeros, so that the first caller does not pay for what ONNX Runtime puts off until then.

        Returns:
            Why the run failed, which says little: zeros may be values that the model refuses. Empty where it went well.
        """
        feeds = {spec.name: _zeros(spec) for spec in self.signature.required}
        try:
            self.run(feeds)
        except (ModelRunRefused, PredictionTooLarge) as error:
            return error.message
        return ""

    def _run_bound(self, feeds: Feeds, names: Sequence[str], options: RunOptions | None) -> list[np.ndarray[Any, Any]]:
        """Runs by I/O binding, which can say that 16 bits are a bfloat16. Slower than `run` otherwise: see ADR 0028."""
        binding = self._session.io_binding()
        specs = {spec.name: spec for spec in self.signature.outputs}
        kept = []
        for spec in self.signature.inputs:
            if spec.name not in feeds:
                continue
            array = np.ascontiguousarray(feeds[spec.name]).reshape(feeds[spec.name].shape)
            kept.append(array)
            if spec.datatype == "BF16":
                binding.bind_input(spec.name, "cpu", 0, _BFLOAT16, array.shape, array.ctypes.data)
            else:
                binding.bind_cpu_input(spec.name, array)
        for name in names:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding, options)
        values = binding.get_outputs()
        return [_bits(value) if specs[name].datatype == "BF16" else value.numpy() for name, value in zip(names, values, strict=True)]


def run_options() -> RunOptions:
    """Returns options for one run."""
    options: RunOptions = _onnxruntime().RunOptions()
    return options


def _onnxruntime() -> Any:
    """Returns the module: only a process with a model needs the 20 MB that it takes."""
    # Otherwise it reports its use to its makers, and keeps an identifier of the machine in the user's cache. It looks when it is imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def _register_exact_arena() -> None:
    """Makes the arena that sessions share which ask for it. Not for several: what one of them took never comes back (ADR 42)."""
    onnxruntime = _onnxruntime()
    memory = onnxruntime.OrtMemoryInfo("Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT)
    # No limit, as much as is requested, and ONNX Runtime's own choices.
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(0, _AS_REQUESTED, -1, -1))


def _spec(argument: Any, kind: str) -> TensorSpec:
    element = BY_ONNX_NAME.get(argument.type)
    if element is None:
        hint = "; convert scikit-learn classifiers with options={'zipmap': False}" if argument.type.startswith("seq(map(") else ""
        raise ModelLoadFailed(f"{kind} `{argument.name}` of the model is {argument.type}, and only tensors are served{hint}")
    shape = tuple(extent if isinstance(extent, int) and extent >= 0 else DYNAMIC for extent in argument.shape)
    symbols = tuple(extent if isinstance(extent, str) else "" for extent in argument.shape)
    return TensorSpec(argument.name, element.name, shape, symbols)


def _zeros(spec: TensorSpec) -> np.ndarray[Any, Any]:
    shape = [1 if extent == DYNAMIC else extent for extent in spec.shape]
    if spec.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, dtype=spec.element.dtype)


def _bits(value: Any) -> np.ndarray[Any, Any]:
    """Copies a bfloat16 tensor of ONNX Runtime as its bits, since `OrtValue.numpy` refuses it."""
    shape = tuple(value.shape())
    count = int(np.prod(shape, dtype=np.int64))
    buffer = ctypes.string_at(value.data_ptr(), count * 2) if count else b""
    return np.frombuffer(buffer, dtype="<u2").reshape(shape)


def _detail(error: Exception) -> str:
    text = " ".join(_NOISE.sub("", str(error)).split())
    return text if len(text) <= _MAX_DETAIL else f"{text[:_MAX_DETAIL]}…"


def release_memory() -> None:
    """Gives freed memory back to the system. glibc keeps it otherwise, and an unloaded model would still count."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
