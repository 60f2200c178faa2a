"""The JSON that people send for a prediction, parsed once: which model, and its inputs against that model's signature.

Three shapes of input are taken: `instances` (rows; bare, or objects keyed by input name), `inputs` (columns by input name; bare where the
model has one input), and `tensors` (typed, as in the Open Inference Protocol).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from servers.serving import json_values
from servers.serving.errors import InvalidPredictBody, InvalidTensor, PredictionTooLarge
from servers.serving.json_values import shown
from servers.serving.signature import ELEMENT_TYPES, Signature, TensorSpec, names_of
from servers.serving.tensors import MAX_VIOLATIONS, Feeds, check_symbols

INPUT_FORMS = ("instances", "inputs", "tensors")
CHOICE_FIELDS = ("model", "version", "alias", "stage")
_FIELDS = (*INPUT_FORMS, *CHOICE_FIELDS, "output_names")
_KNOWN_FIELDS = frozenset(_FIELDS)
_TENSOR_FIELDS = ("name", "datatype", "shape", "data")


class PredictBody(NamedTuple):
    """A parsed body whose values wait for a signature.

    Args:
        form: Which of `INPUT_FORMS` holds the inputs.
        values: What the JSON parser gave for it.
        model: Name of the model; empty where the body has none.
        version: Version number; 0 where the body has none.
        alias: Alias of the version, likewise.
        stage: Stage of the version, likewise.
        output_names: Outputs wanted; empty means all.
        has_strings: Whether there are strings among the input values.
    """

    form: str
    values: object
    model: str
    version: int
    alias: str
    stage: str
    output_names: tuple[str, ...]
    has_strings: bool


class BodyParser:
    """Reads bodies, and keeps what they may cost within bounds.

    Args:
        max_bytes: Largest body, in bytes.
        max_rows: Most instances a body.
    """

    def __init__(self, max_bytes: int, max_rows: int) -> None:
        self._max_bytes = max_bytes
        self._max_rows = max_rows

    def open(self, body: bytes) -> PredictBody:
        """Parses a body. As Python objects it takes up to 25 times the room of its JSON, so keep the result no longer than needed.

        Raises:
            InvalidPredictBody: If it is not the JSON of a prediction.
            PredictionTooLarge: If it has more bytes or rows than allowed.
        """
        if len(body) > self._max_bytes:
            text = f"the body has {len(body)} bytes; at most {self._max_bytes} are allowed"
            raise PredictionTooLarge(f"{text}. Send fewer instances a call, or raw tensors over gRPC")
        return self.parse(body)

    def parse(self, body: bytes) -> PredictBody:
        """Parses a body of any size; see `open`."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise _invalid("body", f"not valid JSON: {error.msg} (line {error.lineno}, column {error.colno}){_nan_hint(body)}") from None
        if not isinstance(document, dict):
            raise _invalid("body", f'expected an object such as {{"instances": [[1.0, 2.0]]}}; got {shown(document)}')
        if not _KNOWN_FIELDS.issuperset(document):
            unknown = [key for key in document if key not in _FIELDS]
            hint = "; `project` is a query parameter" if "project" in unknown else ""
            raise _invalid(unknown[0], f"unknown field `{unknown[0][:100]}`; known are {', '.join(_FIELDS)}{hint}")
        forms = [form for form in INPUT_FORMS if form in document]
        if len(forms) != 1:
            got = " and ".join(forms) or "none of them"
            raise _invalid(forms[-1] if forms else "instances", f"exactly one of {', '.join(INPUT_FORMS)} is required; got {got}")
        values = document[forms[0]]
        if forms[0] == "instances" and isinstance(values, list) and len(values) > self._max_rows:
            raise PredictionTooLarge(f"{len(values)} instances; at most {self._max_rows} are allowed a call")
        has_strings = _has_strings(body, document, values)
        if len(document) == 1:
            return PredictBody(forms[0], values, "", 0, "", "", (), has_strings)
        return PredictBody(
            form=forms[0],
            values=values,
            model=_string(document, "model"),
            version=_version(document),
            alias=_string(document, "alias"),
            stage=_string(document, "stage"),
            output_names=_strings(document, "output_names"),
            has_strings=has_strings,
        )


def feeds_of(signature: Signature, body: PredictBody) -> Feeds:
    """Reads the inputs of a run.

    Raises:
        InvalidTensor: If they are not what the signature asks for; names the place in the body.
    """
    if body.form == "instances":
        feeds = _feeds_of_instances(signature, body)
    else:
        feeds = _feeds_of_columns(signature, body) if body.form == "inputs" else _feeds_of_tensors(signature, body)
    check_symbols(signature, feeds, body.form)
    return feeds


def _feeds_of_instances(signature: Signature, body: PredictBody) -> Feeds:
    rows = body.values
    if not isinstance(rows, list):
        raise _wrong("instances", f"`instances` is a list with one entry a row; got {shown(rows)}")
    if rows and isinstance(rows[0], dict):
        return _feeds_of_objects(signature, rows)
    if len(signature.required) != 1:
        named = names_of(signature.required)
        text = f"the model has {len(signature.required)} inputs, so each instance is an object keyed by input name: {named}"
        raise _wrong("instances[0]" if rows else "instances", text)
    return {signature.required[0].name: _column(rows, signature.required[0], "instances", has_strings=body.has_strings)}


def _feeds_of_objects(signature: Signature, rows: Sequence[object]) -> Feeds:
    names = frozenset(spec.name for spec in signature.required)
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise _wrong(f"instances[{index}]", f"the first instance is an object, so every one has to be; got {shown(row)}")
        if row.keys() != names:
            _check_keys(signature, row, f"instances[{index}]")
            optional = next(name for name in row if name not in names)
            raise _wrong(f"instances[{index}].{optional}", f"input `{optional}` is one for all rows; send `inputs` instead of `instances`")
    feeds: Feeds = {}
    for spec in signature.required:
        name = spec.name
        column = [row[name] for row in rows]  # type: ignore[index]  # every row was found to be an object
        try:
            feeds[name] = _column(column, spec, "instances")
        except InvalidTensor as error:
            raise _in_rows(error, name) from None
    return feeds


def _feeds_of_columns(signature: Signature, body: PredictBody) -> Feeds:
    columns = body.values
    if not isinstance(columns, dict):
        if len(signature.required) != 1:
            text = f"`inputs` is an object with one entry an input: {names_of(signature.inputs)}; got {shown(columns)}"
            raise _wrong("inputs", text)
        spec = signature.required[0]
        return {spec.name: json_values.array_of(columns, spec, "inputs", has_strings=body.has_strings)}
    _check_keys(signature, columns, "inputs")
    return {
        spec.name: json_values.array_of(columns[spec.name], spec, f"inputs.{spec.name}", has_strings=body.has_strings)
        for spec in signature.inputs
        if spec.name in columns
    }


def _feeds_of_tensors(signature: Signature, body: PredictBody) -> Feeds:
    tensors = body.values
    if not isinstance(tensors, list):
        raise _wrong("tensors", f"`tensors` is a list of objects with {', '.join(_TENSOR_FIELDS)}; got {shown(tensors)}")
    feeds: Feeds = {}
    for index, tensor in enumerate(tensors):
        path = f"tensors[{index}]"
        if not isinstance(tensor, dict):
            raise _wrong(path, f"expected an object with {', '.join(_TENSOR_FIELDS)}; got {shown(tensor)}")
        spec = _tensor_spec(signature, tensor, path)
        if spec.name in feeds:
            raise _wrong(f"{path}.name", f"input `{spec.name}` is given twice")
        feeds[spec.name] = _tensor_values(tensor, spec, path, has_strings=body.has_strings)
    missing = [
        (f"tensors.{spec.name}", f"input `{spec.name}` ({spec}) is missing") for spec in signature.required if spec.name not in feeds
    ]
    if missing:
        raise InvalidTensor(missing[0][1], field_violations=missing[:MAX_VIOLATIONS])
    return feeds


def _tensor_spec(signature: Signature, tensor: Mapping[str, object], path: str) -> TensorSpec:
    unknown = [key for key in tensor if key not in _TENSOR_FIELDS]
    lacking = [key for key in _TENSOR_FIELDS if key not in tensor]
    if unknown or lacking:
        what = f"unknown field `{unknown[0][:100]}`" if unknown else f"`{lacking[0]}` is missing"
        raise _wrong(f"{path}.{(unknown or lacking)[0][:100]}", f"{what}; a tensor has {', '.join(_TENSOR_FIELDS)}")
    name = tensor["name"]
    spec = signature.input(name) if isinstance(name, str) else None
    if spec is None:
        raise _wrong(f"{path}.name", f"the model has no input {shown(name)}; its inputs are {names_of(signature.inputs)}")
    datatype = tensor["datatype"]
    if datatype != spec.datatype:
        known = "" if datatype in ELEMENT_TYPES else f"; datatypes are {', '.join(ELEMENT_TYPES)}"
        raise _wrong(f"{path}.datatype", f"input `{name}` expects {spec}; got {shown(datatype)}{known}")
    return spec


def _tensor_values(tensor: Mapping[str, object], spec: TensorSpec, path: str, *, has_strings: bool) -> Any:
    shape, data = tensor["shape"], tensor["data"]
    if not isinstance(shape, list) or not all(type(extent) is int and extent >= 0 for extent in shape):
        raise _wrong(f"{path}.shape", f"expected a list of whole numbers, 0 or more; got {shown(shape)}")
    if not spec.admits(shape):
        raise _wrong(f"{path}.shape", f"input `{spec.name}` expects {spec}; got {spec.datatype} {shape}")
    if not isinstance(data, list):
        raise _wrong(f"{path}.data", f"expected a list; got {shown(data)}")
    is_flat = not data or not isinstance(data[0], list)
    if not is_flat:
        array = json_values.array_of(data, spec, f"{path}.data", has_strings=has_strings)
        if list(array.shape) != shape:
            raise _wrong(f"{path}.data", f"`shape` is {shape}, and `data` is nested as {list(array.shape)}")
        return array
    flat = json_values.array_of(data, TensorSpec(spec.name, spec.datatype, (-1,)), f"{path}.data", has_strings=has_strings)
    try:
        return flat.reshape(shape)
    except ValueError:
        raise _wrong(f"{path}.data", f"{flat.size} values do not make a tensor of shape {shape}") from None


def _column(rows: list[object], spec: TensorSpec, path: str, *, has_strings: bool = True) -> Any:
    """Stacks rows. A row of one element may come without brackets, and no rows at all make an empty batch."""
    if not rows and len(spec.shape) > 1 and all(extent >= 0 for extent in spec.shape[1:]):
        return np.empty((0, *spec.shape[1:]), dtype=spec.element.dtype)
    if rows and not isinstance(rows[0], list) and json_values.row_of_one(spec):
        bare = TensorSpec(spec.name, spec.datatype, spec.shape[:1])
        return json_values.array_of(rows, bare, path, has_strings=has_strings).reshape((-1, *spec.shape[1:]))
    return json_values.array_of(rows, spec, path, has_strings=has_strings)


def _check_keys(signature: Signature, entries: Mapping[str, object], path: str) -> None:
    names = [spec.name for spec in signature.inputs]
    wrong = [
        (f"{path}.{key[:100]}", f"the model has no input `{key[:100]}`; its inputs are {names_of(signature.inputs)}")
        for key in entries
        if key not in names
    ]
    wrong += [
        (f"{path}.{spec.name}", f"input `{spec.name}` ({spec}) is missing") for spec in signature.required if spec.name not in entries
    ]
    if wrong:
        raise InvalidTensor(f"{path}: {wrong[0][1]}", field_violations=wrong[:MAX_VIOLATIONS])


def _in_rows(error: InvalidTensor, name: str) -> InvalidTensor:
    """Moves the places of a column, `instances[3][0]`, to where they stand in rows of objects, `instances[3].name[0]`."""

    def moved(text: str) -> str:
        head, bracket, tail = text.partition("]")
        return f"{head}].{name}{tail}" if bracket and head.startswith("instances[") else text

    violations = [(moved(field), text) for field, text in error.field_violations]
    return InvalidTensor(moved(error.message), field_violations=violations)


def _has_strings(body: bytes, document: Mapping[str, object], values: object) -> bool:
    """Whether the values may hold strings: whether the body has more quotes than the strings around the values explain."""
    if len(document) == 1 and isinstance(values, list) and "instances" in document:
        return body.count(b'"') > 2
    explained = len(document) + sum(isinstance(document.get(field), str) for field in CHOICE_FIELDS)
    names = document.get("output_names")
    if isinstance(names, list):
        explained += sum(isinstance(name, str) for name in names)
    if isinstance(values, dict):
        explained += len(values)
    elif values is document.get("tensors") and isinstance(values, list):
        for tensor in values:
            if isinstance(tensor, dict):
                explained += len(tensor) + isinstance(tensor.get("name"), str) + isinstance(tensor.get("datatype"), str)
    return body.count(b'"') > 2 * explained


def _string(document: Mapping[str, object], field: str) -> str:
    value = document.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or not value or len(value) > 255:
        raise _invalid(field, f"expected a string of 1 to 255 characters; got {shown(value)}")
    return value


def _strings(document: Mapping[str, object], field: str) -> tuple[str, ...]:
    value = document.get(field)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _invalid(field, f"expected a list of output names; got {shown(value)}")
    return tuple(value)


def _version(document: Mapping[str, object]) -> int:
    value = document.get("version")
    if value is None:
        return 0
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if type(value) is not int or not 1 <= value < 2**31:
        raise _invalid("version", f"expected a version number, 1 or more; got {shown(value)}")
    return value


def _nan_hint(body: bytes) -> str:
    if b"NaN" in body or b"Infinity" in body:
        return '; JSON has no NaN or Infinity: write them as "NaN", "Infinity" and "-Infinity", or a missing value as null'
    return ""


def _invalid(field: str, text: str) -> InvalidPredictBody:
    return InvalidPredictBody(f"{field}: {text}", field_violations=[(field, text)])


def _wrong(place: str, text: str) -> InvalidTensor:
    return InvalidTensor(f"{place}: {text}", field_violations=[(place, text)])
