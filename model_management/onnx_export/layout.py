"""How a model of tables takes its input: one matrix, one tensor a column, or texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from model_management.onnx_export.errors import OnnxNotPossible
from model_management.signature import DYNAMIC, TensorSpec

__all__ = ["INPUT_NAME", "MOST_ROWS", "Column", "InputLayout", "feeds_of", "fitted_parts_of", "generate_input", "layout_of", "rows_of"]

INPUT_NAME = "input"
"""Of the one input of a model that takes a matrix or texts."""
MOST_ROWS = 1000
"""How many rows of a sample are compared."""
_GENERATED_ROWS = 64
_UNSEEN = "a value that was never seen"
_DTYPES = {"FP64": np.float64, "FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_, "BYTES": np.object_}


@dataclass(frozen=True, slots=True)
class Column:
    """One feature.

    Args:
        name: As the model was trained with; unique.
        datatype: FP64, FP32, INT64, BOOL or BYTES.
        examples: Values to generate an input of; numbers at random where there are none.
    """

    name: str
    datatype: str
    examples: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class InputLayout:
    """How a model takes its input.

    Args:
        kind: ``matrix``: one tensor of shape [-1, width], of numbers of one datatype. ``columns``: a tensor of shape [-1, 1] a column,
            each with its own datatype, which is what a pipeline over a table of numbers and texts needs. ``text``: one tensor of
            shape [-1, 1] with texts.
        columns: The features with their names; empty where a matrix has no names.
        width: How many features there are.
        datatype: Of a matrix.
    """

    kind: Literal["matrix", "columns", "text"]
    columns: tuple[Column, ...]
    width: int
    datatype: str = "FP32"

    def specs(self) -> tuple[TensorSpec, ...]:
        """Return the inputs that an ONNX of the model has."""
        if self.kind == "columns":
            return tuple(TensorSpec(column.name, column.datatype, (DYNAMIC, 1)) for column in self.columns)
        if self.kind == "text":
            return (TensorSpec(INPUT_NAME, "BYTES", (DYNAMIC, 1)),)
        return (TensorSpec(INPUT_NAME, self.datatype, (DYNAMIC, self.width)),)

    def with_floats(self, datatype: str) -> InputLayout:
        """Return the layout with other floating-point numbers."""
        floats = {"FP32", "FP64"}
        columns = tuple(replace(column, datatype=datatype) if column.datatype in floats else column for column in self.columns)
        return replace(self, datatype=datatype, columns=columns)


def layout_of(model: Any, sample_input: Any) -> InputLayout:
    """Find out how a fitted model takes its input.

    Args:
        model: Of scikit-learn, XGBoost or LightGBM.
        sample_input: What it is given: an array, a pandas DataFrame, a sequence of rows, or of texts; or None.

    Raises:
        OnnxNotPossible: If that cannot be said, which a sample would change.
    """
    if sample_input is None:
        return _layout_without_sample(model)
    if _is_frame(sample_input):
        columns = tuple(Column(str(name), _datatype_of(sample_input[name], str(name))) for name in sample_input.columns)
        if _selects_columns_by_name(model) or any(column.datatype == "BYTES" for column in columns):
            return InputLayout("columns", columns, len(columns))
        return InputLayout("matrix", columns, len(columns))
    array = _as_array(sample_input)
    if array.dtype.kind in "OUS":
        if array.ndim == 1 and all(isinstance(value, str) for value in array.tolist()):
            return InputLayout("text", (), 1)
        raise OnnxNotPossible("an array with texts and numbers has no datatype; pass a DataFrame")
    if array.ndim != 2:
        raise OnnxNotPossible(f"sample_input has the shape {list(array.shape)}; a model of tables takes [rows, features]")
    return InputLayout("matrix", (), array.shape[1])


def rows_of(sample_input: Any) -> Any:
    """Return the first rows of a sample in the form in which the model takes them."""
    if _is_frame(sample_input):
        return sample_input.iloc[:MOST_ROWS]
    return _as_array(sample_input)[:MOST_ROWS]


def generate_input(model: Any, layout: InputLayout) -> Any:
    """Make an input up, where the saver gives none: numbers of several sizes, texts that the model knows and one that it does not.

    Args:
        model: What it is for.
        layout: How it takes its input.

    Returns:
        A DataFrame where the model was trained with names, an array otherwise.
    """
    random = np.random.default_rng(0)
    if layout.kind == "text":
        raise OnnxNotPossible("the model takes texts; pass sample_input")
    if not layout.columns:
        return _numbers(random, (_GENERATED_ROWS, layout.width))
    values = {column.name: _values(random, column) for column in layout.columns}
    if layout.kind == "matrix" and not hasattr(model, "feature_names_in_"):
        return np.stack(list(values.values()), axis=1)
    import pandas as pd

    return pd.DataFrame(values)


def feeds_of(layout: InputLayout, rows: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return the rows as an ONNX of the model takes them."""
    if layout.kind == "text":
        return {INPUT_NAME: np.asarray(rows, dtype=object).reshape(-1, 1)}
    if layout.kind == "matrix":
        array = rows.to_numpy() if _is_frame(rows) else np.asarray(rows)
        return {INPUT_NAME: np.ascontiguousarray(array, dtype=_DTYPES[layout.datatype])}
    return {column.name: _tensor_of(rows[column.name], column.datatype) for column in layout.columns}


def _layout_without_sample(model: Any) -> InputLayout:
    names = getattr(model, "feature_names_in_", None)
    if names is not None and _selects_columns_by_name(model):
        known = {column.name: column for column in _encoded_columns(model)}
        columns = tuple(known.get(str(name), Column(str(name), "FP64")) for name in names)
        return InputLayout("columns", columns, len(columns))
    width = _feature_count(model)
    if width is None:
        raise OnnxNotPossible("the model does not say how many features it takes; pass sample_input")
    columns = tuple(Column(str(name), "FP32") for name in names) if names is not None else ()
    return InputLayout("matrix", columns, width)


def _feature_count(model: Any) -> int | None:
    for name in ("n_features_in_", "num_features", "num_feature"):
        found = getattr(model, name, None)
        if found is not None:
            return int(found() if callable(found) else found)
    return None


def _selects_columns_by_name(model: Any) -> bool:
    return any(
        isinstance(name, str)
        for estimator in fitted_parts_of(model)
        for _, _, columns in getattr(estimator, "transformers_", ())
        if isinstance(columns, (list, tuple, np.ndarray, str))
        for name in ([columns] if isinstance(columns, str) else columns)
    )


def _encoded_columns(model: Any) -> Iterator[Column]:
    """Return the columns that go into an encoder of categories, with values that it knows."""
    for estimator in fitted_parts_of(model):
        for _, transformer, names in getattr(estimator, "transformers_", ()):
            for part in fitted_parts_of(transformer):
                categories = getattr(part, "categories_", None)
                if categories is not None and len(categories) == len(names):
                    unseen = () if getattr(part, "handle_unknown", "error") == "error" else (_UNSEEN,)
                    yield from (_encoded(str(name), np.asarray(values), unseen) for name, values in zip(names, categories, strict=True))


def fitted_parts_of(model: Any) -> Iterator[Any]:
    """Return an estimator and the fitted ones inside of it: steps of pipelines, branches of unions and tables, members of ensembles."""
    yield model
    inner = [step for _, step in getattr(model, "steps", None) or getattr(model, "transformer_list", None) or ()]
    inner += [transformer for _, transformer, _ in getattr(model, "transformers_", ())]
    inner += list(getattr(model, "estimators_", ())) if type(model).__name__.startswith(("Voting", "Stacking")) else []
    for part in inner:
        if not isinstance(part, str) and part is not None:
            yield from fitted_parts_of(part)


def _encoded(name: str, categories: np.ndarray[Any, Any], unseen: tuple[str, ...]) -> Column:
    if categories.dtype.kind in "OUS":
        return Column(name, "BYTES", (*(value for value in categories.tolist() if isinstance(value, str)), *unseen))
    if categories.dtype.kind == "b":
        return Column(name, "BOOL", (False, True))
    return Column(name, "INT64" if categories.dtype.kind in "iu" else "FP64", tuple(categories.tolist()))


def _numbers(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return numbers around 0, around 1, and up to thousands, that float32 has, too, so that both sides see the same ones."""
    scales = random.choice([0.1, 1.0, 10.0, 1000.0], size=shape)
    numbers: np.ndarray[Any, Any] = (random.standard_normal(shape) * scales).astype(np.float32).astype(np.float64)
    return numbers


def _values(random: np.random.Generator, column: Column) -> np.ndarray[Any, Any]:
    values: list[Any] = _numbers(random, (_GENERATED_ROWS,)).tolist()
    if column.examples:
        values = [column.examples[index] for index in random.integers(0, len(column.examples), _GENERATED_ROWS)]
    array: np.ndarray[Any, Any] = np.array(values, dtype=_DTYPES[column.datatype])
    return array


def _is_frame(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "columns")


def _as_array(sample_input: Any) -> np.ndarray[Any, Any]:
    if hasattr(sample_input, "toarray"):
        sample_input = sample_input[:MOST_ROWS].toarray()
    if isinstance(sample_input, Mapping):
        raise OnnxNotPossible("a dictionary is no table; pass a DataFrame")
    if isinstance(sample_input, Sequence) and sample_input and all(isinstance(value, str) for value in sample_input):
        return np.asarray(sample_input, dtype=object)
    return np.asarray(sample_input)


def _datatype_of(series: Any, name: str) -> str:
    """Return the datatype of a column of a DataFrame."""
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _datatype_of(series.cat.categories.to_series(), name)
    if pd.api.types.is_bool_dtype(dtype):
        return "BOOL"
    if pd.api.types.is_integer_dtype(dtype):
        return "INT64"
    if pd.api.types.is_float_dtype(dtype):
        return "FP64" if dtype.itemsize == 8 else "FP32"
    if pd.api.types.is_string_dtype(dtype) or pd.api.types.is_object_dtype(dtype):
        return "BYTES"
    raise OnnxNotPossible(f"column {name!r} has the datatype {dtype}, which no tensor has")


def _tensor_of(series: Any, datatype: str) -> np.ndarray[Any, Any]:
    if datatype == "BYTES":
        texts = series.astype(object)
        return np.asarray(texts.where(texts.notna(), "").to_numpy(dtype=object)).reshape(-1, 1)
    return np.asarray(series.to_numpy(dtype=_DTYPES[datatype])).reshape(-1, 1)
