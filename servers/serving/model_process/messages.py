"""What a server and a model's process say to each other.

The server sends `Load` once and then `Run`, one at a time; the process answers with `Ready`, `Answer` or `Refusal`. Nothing on this wire is
pickled, and neither side trusts the other's frames: a model that has taken over its process can say no more than these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from servers.serving.model_process.frames import Frame, MalformedFrame, Part, frame_parts
from servers.serving.model_process.packed_tensors import NamedTensor, packed, unpacked
from servers.serving.signature import DYNAMIC, ELEMENT_TYPES, Signature, TensorSpec

LOAD = 0
"""Number of the call that `Load` is; runs count from 1."""


@dataclass(frozen=True, slots=True)
class Load:
    """Asks for a model. The first message, and once only.

    Args:
        path: Its ONNX file, checked by the server; external data lies where the model refers to it.
        intra_op_threads: Threads that share one operator.
        memory_limit_bytes: Memory that the process may take for itself (RLIMIT_DATA); 0 = any.
        max_payload_bytes: Longest payload either way.
    """

    path: str
    intra_op_threads: int
    memory_limit_bytes: int
    max_payload_bytes: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded.

    Args:
        signature: What it takes and gives.
        refusal: Why it does not run on zeros, and so is not warmed; empty where it does.
    """

    signature: Signature
    refusal: str


@dataclass(frozen=True, slots=True)
class Run:
    """Asks for a run.

    Args:
        call: Number of the call.
        inputs: One tensor an input.
        outputs: Positions of the outputs wanted; empty means all.
    """

    call: int
    inputs: Sequence[NamedTensor]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run gave.

    Args:
        call: Number of the call.
        outputs: The outputs in the order asked for.
    """

    call: int
    outputs: Sequence[NamedTensor]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a load or a run failed, while the process lives on.

    Args:
        call: Number of the call.
        reason: Reason of the `DomainError`.
        message: Its message.
    """

    call: int
    reason: str
    message: str


Message = Load | Ready | Run | Answer | Refusal


def message_parts(message: Message, *, max_payload_bytes: int = 0) -> list[Part]:
    """Writes a message.

    Args:
        message: The message. Its arrays must not change until the parts are sent.
        max_payload_bytes: Longest payload that the other side takes.

    Returns:
        What has to be sent, in order.

    Raises:
        PayloadTooLarge: If the tensors are.
        TypeError: If an array is not kept as its element type says.
    """
    match message:
        case Load():
            return frame_parts(
                {
                    "kind": "load",
                    "path": message.path,
                    "intra_op_threads": message.intra_op_threads,
                    "memory_limit_bytes": message.memory_limit_bytes,
                    "max_payload_bytes": message.max_payload_bytes,
                }
            )
        case Ready():
            inputs, outputs = ([_spec_written(spec) for spec in specs] for specs in (message.signature.inputs, message.signature.outputs))
            return frame_parts({"kind": "ready", "inputs": inputs, "outputs": outputs, "refusal": message.refusal})
        case Run():
            tensors = packed(message.inputs)
            header = {"kind": "run", "call": message.call, "inputs": tensors.descriptions, "outputs": message.outputs}
            return frame_parts(header, tensors.parts, max_payload_bytes=max_payload_bytes)
        case Answer():
            tensors = packed(message.outputs)
            header = {"kind": "answer", "call": message.call, "outputs": tensors.descriptions}
            return frame_parts(header, tensors.parts, max_payload_bytes=max_payload_bytes)
        case Refusal():
            return frame_parts({"kind": "refusal", "call": message.call, "reason": message.reason, "message": message.message})


def message_of(frame: Frame) -> Message:
    """Reads a message.

    Raises:
        MalformedFrame: If the frame is none.
    """
    header = frame.header
    kind = _text(header, "kind")
    if kind == "answer":
        return Answer(_count(header, "call"), unpacked(header.get("outputs"), frame.payload))
    if kind == "run":
        outputs = tuple(_list(header, "outputs", _is_count))
        return Run(_count(header, "call"), unpacked(header.get("inputs"), frame.payload), outputs)
    if len(frame.payload):
        raise MalformedFrame(f"a message of kind `{kind[:100]}` has no payload")
    if kind == "refusal":
        return Refusal(_count(header, "call"), _text(header, "reason"), _text(header, "message"))
    if kind == "ready":
        inputs, outputs = (tuple(map(_spec_read, _list(header, field, lambda _: True))) for field in ("inputs", "outputs"))
        return Ready(Signature(inputs, outputs), _text(header, "refusal"))
    if kind == "load":
        numbers = (_count(header, field) for field in ("intra_op_threads", "memory_limit_bytes", "max_payload_bytes"))
        return Load(_text(header, "path"), *numbers)
    raise MalformedFrame(f"there is no message of kind `{kind[:100]}`")


def _spec_written(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "datatype": spec.datatype,
        "shape": spec.shape,
        "symbols": spec.symbols,
        "is_optional": spec.is_optional,
    }


def _spec_read(written: object) -> TensorSpec:
    if not isinstance(written, dict):
        raise MalformedFrame("a tensor of a signature is not an object")
    datatype = _text(written, "datatype")
    if datatype not in ELEMENT_TYPES:
        raise MalformedFrame(f"there is no element type `{datatype[:100]}`")
    shape = tuple(_list(written, "shape", lambda extent: type(extent) is int and extent >= DYNAMIC))
    symbols = tuple(_list(written, "symbols", lambda symbol: isinstance(symbol, str)))
    is_optional = _field(written, "is_optional", lambda value: isinstance(value, bool), "true or false")
    return TensorSpec(_text(written, "name"), datatype, shape, symbols, is_optional)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _text(header: dict[str, Any], field: str) -> str:
    value: str = _field(header, field, lambda value: isinstance(value, str), "a text")
    return value


def _count(header: dict[str, Any], field: str) -> int:
    value: int = _field(header, field, _is_count, "a whole number, 0 or more")
    return value


def _list(header: dict[str, Any], field: str, is_element: Callable[[Any], bool]) -> list[Any]:
    value = header.get(field)
    if not isinstance(value, list) or not all(map(is_element, value)):
        raise MalformedFrame(f"`{field}` of a message has to be a list of what belongs there")
    return value


def _field(header: dict[str, Any], field: str, is_right: Callable[[Any], bool], expected: str) -> Any:
    value = header.get(field)
    if not is_right(value):
        raise MalformedFrame(f"`{field}` of a message has to be {expected}")
    return value
