"""Predictions over REST: JSON, and binary tensors behind it.

JSON has no NaN and no infinities. Triton reads and writes them as the bare words `NaN`, `Infinity` and `-Infinity`, and its clients, like
Python's `json`, take and send those; so does this module. It also takes them as strings, as the rest of the mesh does. A client whose
parser is stricter asks for binary tensors.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from servers.serving import json_values
from servers.serving.engine import Prediction
from servers.serving.errors import InvalidTensor, PredictionTooLarge
from servers.serving.json_values import bfloat16_values, shown
from servers.serving.open_inference import binary_extension
from servers.serving.open_inference.binary_extension import SIZE_PARAMETER, BinarySection
from servers.serving.open_inference.content_encoding import decoded
from servers.serving.open_inference.errors import invalid
from servers.serving.open_inference.infer_call import MAX_DIMENSIONS, InferCall, facts_of
from servers.serving.open_inference.model_names import PROJECT_PARAMETER, choice_of, project_of
from servers.serving.open_inference.parameters import flag_of, refuse_unserved, text_of
from servers.serving.signature import ELEMENT_TYPES, TensorSpec
from servers.serving.tensors import RawTensor, raw_of

_LONG_BYTES = 16 * 1024
_WORDS = (b"NaN", b"Infinity")


@dataclass(frozen=True, slots=True)
class RestInferCall:
    """A prediction, and how its answer is to be written.

    Args:
        call: The prediction.
        binary_by_name: Whether an output is to be binary, for those that the request names.
        is_binary: Whether the others are.
    """

    call: InferCall
    binary_by_name: Mapping[str, bool]
    is_binary: bool


class RestInferReader:
    """Reads bodies, and keeps what they may cost within bounds.

    Args:
        max_json_bytes: Largest JSON, in bytes. As Python objects it takes up to 25 times as much for a moment.
        max_body_bytes: Largest body with its binary tensors, not compressed, in bytes.
    """

    def __init__(self, max_json_bytes: int, max_body_bytes: int) -> None:
        self._max_json_bytes = max_json_bytes
        self._max_body_bytes = max_body_bytes

    async def inflated(self, body: bytes, encoding: str) -> bytes:
        """Undoes `Content-Encoding`; in a thread where that takes a while.

        Raises:
            servers.runtime.errors.DomainError: As `content_encoding.decoded`.
        """
        if len(body) <= _LONG_BYTES or not encoding:
            return decoded(body, encoding, self._max_body_bytes)
        return await asyncio.to_thread(decoded, body, encoding, self._max_body_bytes)

    def read(self, body: bytes, header_length: str | None, *, model: str, version: str) -> RestInferCall:
        """Reads a prediction.

        Args:
            body: The body, not compressed any more.
            header_length: `Inference-Header-Content-Length`; None where it is missing.
            model: Name of the model, from the path.
            version: Version number or alias from the path; empty where it names none.

        Raises:
            servers.runtime.errors.DomainError: If it is none, or the caller may not predict in the project it names.
        """
        document, binary = binary_extension.split(body, header_length)
        if len(document) > self._max_json_bytes:
            text = f"the body has {len(document)} bytes of JSON; at most {self._max_json_bytes} are allowed"
            raise PredictionTooLarge(f"{text}. Send fewer rows a call, or binary tensors (`{SIZE_PARAMETER}`)")
        return _call(parsed(document), binary, model, version)


def parsed(document: memoryview | bytes) -> dict[str, Any]:
    """Parses the JSON of a request; bare NaN and infinities are taken.

    Raises:
        InvalidInferRequest: If it is no JSON object.
    """
    try:
        value = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        value = _parsed_with_words(bytes(document), error)
    if not isinstance(value, dict):
        raise invalid("body", f'expected an object such as {{"inputs": […]}}; got {shown(value)}')
    return value


def _parsed_with_words(document: bytes, refusal: orjson.JSONDecodeError) -> Any:
    if any(word in document for word in _WORDS):
        try:
            return json.loads(document)
        except (ValueError, RecursionError):  # whatever it is, the other parser has said where
            pass
    raise invalid("body", f"not valid JSON: {refusal.msg} (line {refusal.lineno}, column {refusal.colno})")


def _call(document: dict[str, Any], binary: BinarySection, model: str, version: str) -> RestInferCall:
    parameters = _object(document, "parameters", "parameters")
    request_id = document.get("id", "")
    if not isinstance(request_id, str):
        raise invalid("id", f"expected a string; got {shown(request_id)}")
    wanted = _wanted(document, flag_of(parameters, "binary_data_output", "parameters", default=False))
    choice = choice_of(model, version, project_of(text_of(parameters, PROJECT_PARAMETER)))
    inputs = tuple(_input(entry, binary, f"inputs[{index}]") for index, entry in enumerate(_list(document, "inputs")))
    binary.close()
    call = InferCall(choice=choice, inputs=inputs, output_names=tuple(wanted), request_id=request_id)
    return RestInferCall(call, wanted, flag_of(parameters, "binary_data_output", "parameters", default=False))


def _wanted(document: Mapping[str, Any], default: bool) -> dict[str, bool]:
    """Outputs that are asked for, and whether each is to be binary."""
    wanted: dict[str, bool] = {}
    for index, output in enumerate(_list(document, "outputs")):
        place = f"outputs[{index}]"
        name = _name(output, place)
        parameters = _object(output, "parameters", f"{place}.parameters")
        refuse_unserved(parameters, f"{place}.parameters")
        if name in wanted:
            raise invalid(f"{place}.name", f"output `{name[:100]}` is asked for twice")
        wanted[name] = flag_of(parameters, "binary_data", f"{place}.parameters", default=default)
    return wanted


def _input(entry: object, binary: BinarySection, place: str) -> RawTensor:
    name = _name(entry, place)
    assert isinstance(entry, dict)  # noqa: S101  # `_name` has looked
    datatype, shape = entry.get("datatype"), entry.get("shape")
    if not isinstance(datatype, str) or datatype not in ELEMENT_TYPES:
        raise invalid(f"{place}.datatype", f"input `{name[:100]}` expects one of {', '.join(ELEMENT_TYPES)}; got {shown(datatype)}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(type(extent) is int and extent >= 0 for extent in shape):
        raise invalid(
            f"{place}.shape", f"input `{name[:100]}` expects a list of at most {MAX_DIMENSIONS} extents, 0 or more; got {shown(shape)}"
        )
    parameters = _object(entry, "parameters", f"{place}.parameters")
    refuse_unserved(parameters, f"{place}.parameters")
    if SIZE_PARAMETER not in parameters:
        if "data" not in entry:
            text = f"input `{name[:100]}` has neither `data` nor the parameter `{SIZE_PARAMETER}`"
            raise invalid(f"{place}.data", text)
        return _of_json(name, datatype, shape, entry["data"], f"{place}.data")
    if "data" in entry:
        raise invalid(f"{place}.data", f"input `{name[:100]}` has both `data` and the parameter `{SIZE_PARAMETER}`; send one of them")
    return RawTensor(name, datatype, tuple(shape), binary.take(parameters[SIZE_PARAMETER], f"{place}.parameters.{SIZE_PARAMETER}"))


def _of_json(name: str, datatype: str, shape: list[int], data: object, place: str) -> RawTensor:
    if not isinstance(data, list):
        raise _wrong(place, f"input `{name[:100]}` expects a list; got {shown(data)}")
    is_nested = len(shape) > 1 and bool(data) and isinstance(data[0], list)
    count = math.prod(shape)
    if not is_nested and len(data) != count:
        raise _wrong(place, f"input `{name[:100]}` of {datatype} {shape} has {count} elements; `data` has {len(data)}")
    spec = TensorSpec(name[:100], datatype, tuple(shape) if is_nested else (count,))
    # Nested values are looked at one by one; a flat list, which is what clients send, tells its types at once.
    array = json_values.array_of(data, spec, place, has_strings=is_nested or str in set(map(type, data)))
    try:
        raw = raw_of(name, datatype, array).raw
    except UnicodeEncodeError:
        raise _wrong(place, f"input `{name[:100]}` has half of a surrogate pair, which UTF-8 cannot say") from None
    return RawTensor(name, datatype, tuple(shape), raw)


def infer_answer(prediction: Prediction, rest: RestInferCall) -> tuple[bytes, int | None]:
    """Writes the answer.

    Returns:
        The body, and how many bytes of it are JSON; None where all are.
    """
    tensors: list[bytes] = []
    document: dict[str, Any] = {"model_name": prediction.name, "model_version": str(prediction.version)}
    if rest.call.request_id:
        document["id"] = rest.call.request_id
    document["parameters"] = facts_of(prediction)
    document["outputs"] = outputs = []
    for spec, array in prediction.outputs:
        output: dict[str, Any] = {"name": spec.name, "datatype": spec.datatype, "shape": list(array.shape)}
        if rest.binary_by_name.get(spec.name, rest.is_binary):
            raw = raw_of(spec.name, spec.datatype, array).raw
            output["parameters"] = {SIZE_PARAMETER: len(raw)}
            tensors.append(raw)
        else:
            output["data"] = _json_data(spec, array)
        outputs.append(output)
    written = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tensors:
        return written, None
    return binary_extension.joined(written, tensors), len(written)


def _json_data(spec: TensorSpec, array: np.ndarray[Any, Any]) -> Any:
    """The elements in row-major order, exact: a binary32 has all the digits of its binary64."""
    flat = array.reshape(-1)
    if spec.datatype == "BYTES":
        return flat.tolist()
    if spec.datatype == "BF16":
        flat = bfloat16_values(flat)
    if flat.dtype.kind == "f":
        flat = flat.astype(np.float64, copy=False)
        if not np.isfinite(flat).all():
            return orjson.Fragment(json.dumps(flat.tolist()).encode())
    return np.ascontiguousarray(flat)


def _name(entry: object, place: str) -> str:
    if not isinstance(entry, dict):
        raise invalid(place, f"expected an object; got {shown(entry)}")
    name = entry.get("name")
    if not isinstance(name, str):
        raise invalid(f"{place}.name", f"expected a string; got {shown(name)}")
    return name


def _object(holder: Mapping[str, Any], field: str, place: str) -> dict[str, Any]:
    value = holder.get(field, {})
    if not isinstance(value, dict):
        raise invalid(place, f"expected an object; got {shown(value)}")
    return value


def _list(document: Mapping[str, Any], field: str) -> list[Any]:
    value = document.get(field, [])
    if not isinstance(value, list):
        raise invalid(field, f"expected a list of objects; got {shown(value)}")
    return value


def _wrong(place: str, text: str) -> InvalidTensor:
    return InvalidTensor(f"{place}: {text}", field_violations=[(place, text)])
