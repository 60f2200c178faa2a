"""From a fitted model of tables to an ONNX that predicts the same."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from model_management.onnx_export.agreement import compare, run_onnx
from model_management.onnx_export.converters import convert
from model_management.onnx_export.errors import OnnxNotPossible, reason_of
from model_management.onnx_export.export import OnnxExport
from model_management.onnx_export.graphs import keep_outputs, opsets_of, rename_values, set_shape, signature_of_onnx
from model_management.onnx_export.layout import InputLayout, feeds_of, generate_input, layout_of, rows_of
from model_management.onnx_export.predictions import Prediction, predictions_of

__all__ = ["export_tabular"]

_ROUNDED = "rows_changed_by_rounding_the_input"
_ROUNDING_SHARE = 0.01
"""How many of the rows may differ when the input is rounded to float32: those beside a threshold of a tree."""


def export_tabular(model: Any, sample_input: Any) -> OnnxExport:
    """Make an ONNX of a model of scikit-learn, XGBoost or LightGBM.

    Of several datatypes for the input the first wins with which the ONNX can be made, runs, and predicts what the model predicts; one with
    which rounding the input changes a row or two is the second choice.

    Args:
        model: Fitted.
        sample_input: Rows to compare with, as the model takes them; made up where there are none.

    Raises:
        OnnxNotPossible: If there is no such ONNX, with the reason for each datatype.
    """
    layout = layout_of(model, sample_input)
    rows = rows_of(sample_input) if sample_input is not None else generate_input(model, layout)
    expected = predictions_of(model, rows)
    reasons: list[str] = []
    second_best: OnnxExport | None = None
    for attempt in _attempts(model, layout, is_generated=sample_input is None):
        try:
            export = _export(model, attempt, rows, expected, is_generated=sample_input is None)
            if _ROUNDED not in export.report:
                return export
            second_best = second_best or export
        except OnnxNotPossible as error:
            reasons.append(str(error))
        except Exception as error:
            # Converters raise what they like: RuntimeError, KeyError, MissingShapeCalculator, ...
            reasons.append(reason_of(error))
    if second_best is not None:
        return second_best
    raise OnnxNotPossible("; ".join(dict.fromkeys(reasons)))


def _attempts(model: Any, layout: InputLayout, *, is_generated: bool) -> list[InputLayout]:
    if layout.kind == "text":
        return [layout]
    if type(model).__module__.partition(".")[0] in ("xgboost", "lightgbm"):
        # Their converters make trees over float32 only.
        return [layout.with_floats("FP32")]
    if layout.kind == "matrix":
        # What is generated has no values beside the thresholds of trees, as real rows have: where something is computed before the trees,
        # only double precision is sure to stay on the right side of them.
        is_exact_first = is_generated and hasattr(model, "steps")
        return [layout.with_floats(datatype) for datatype in (("FP64", "FP32") if is_exact_first else ("FP32", "FP64"))]
    return list(dict.fromkeys([layout, layout.with_floats("FP32"), layout.with_floats("FP64")]))


def _export(model: Any, layout: InputLayout, rows: Any, expected: tuple[Prediction, ...], *, is_generated: bool) -> OnnxExport:
    with warnings.catch_warnings():
        # What converters use that is deprecated concerns nobody who saves a model.
        warnings.simplefilter("ignore", category=FutureWarning)
        warnings.simplefilter("ignore", category=DeprecationWarning)
        onnx_model = convert(model, layout)
    if len(onnx_model.graph.output) < len(expected):
        raise OnnxNotPossible(f"the ONNX has {len(onnx_model.graph.output)} outputs, the model {len(expected)}")
    wanted = [prediction.name for prediction in expected]
    found = [output.name for output in onnx_model.graph.output][: len(wanted)]
    keep_outputs(onnx_model, found)
    rename_values(onnx_model, {old: new for old, new in zip(found, wanted, strict=True) if old != new})
    feeds = feeds_of(layout, rows)
    actual = run_onnx(onnx_model, feeds)
    kept, largest_error, rounded_rows = _agreeing(model, layout, rows, feeds, expected, actual)
    keep_outputs(onnx_model, [prediction.name for prediction in kept])
    for value in onnx_model.graph.output:
        # Converters leave shapes out, or state wrong ones, such as [1] for the labels of a batch.
        set_shape(value, (-1, *actual[value.name].shape[1:]))
    onnx_model.graph.name = "model"
    # Once more, as it will be stored.
    run_onnx(onnx_model, feeds)
    report: dict[str, Any] = {
        "rows_compared": len(rows),
        "sample": "generated" if is_generated else "given",
        "largest_error": largest_error,
        "opsets": opsets_of(onnx_model),
    }
    if rounded_rows:
        report[_ROUNDED] = rounded_rows
    columns = tuple(column.name for column in layout.columns) if layout.kind == "matrix" else ()
    return OnnxExport(onnx_model, signature_of_onnx(onnx_model), report, columns)


def _agreeing(
    model: Any,
    layout: InputLayout,
    rows: Any,
    feeds: dict[str, np.ndarray[Any, Any]],
    expected: tuple[Prediction, ...],
    actual: dict[str, np.ndarray[Any, Any]],
) -> tuple[list[Prediction], float, int]:
    """Return the outputs that agree, the largest error, and how many rows differ by nothing but the rounding of the input."""
    probabilities = next((prediction.values for prediction in expected if prediction.name in ("probabilities", "scores")), None)
    kept: list[Prediction] = []
    largest_error = 0.0
    most_rounded = 0
    for prediction in expected:
        try:
            agreement = compare(prediction, actual[prediction.name], probabilities)
            differing = agreement.rows_differing
            if len(differing):
                if not _is_rounding(model, layout, rows, feeds, prediction, actual[prediction.name], differing):
                    raise OnnxNotPossible(
                        f"with {layout.specs()[0].datatype} input, output {prediction.name!r} differs from the model's own in "
                        f"{len(differing)} of {len(rows)} rows, by up to {agreement.largest_error:.3g}"
                    )
                most_rounded = max(most_rounded, len(differing))
        except OnnxNotPossible:
            if prediction.is_optional:
                continue
            raise
        kept.append(prediction)
        largest_error = max(largest_error, agreement.largest_error)
    return kept, largest_error, most_rounded


def _is_rounding(
    model: Any,
    layout: InputLayout,
    rows: Any,
    feeds: dict[str, np.ndarray[Any, Any]],
    prediction: Prediction,
    actual: np.ndarray[Any, Any],
    differing: np.ndarray[Any, Any],
) -> bool:
    """Tell whether the few rows that differ agree when the model is given the input as it is after rounding to float32.

    A value beside a threshold of a tree falls on its other side then. The ONNX is right about the numbers that it is given.
    """
    if layout.kind != "matrix" or layout.datatype != "FP32" or len(differing) > max(1.0, _ROUNDING_SHARE * len(rows)):
        return False
    rounded = feeds["input"][differing].astype(np.float64)
    given = type(rows)(rounded, columns=rows.columns) if hasattr(rows, "columns") else rounded
    again = next((found for found in predictions_of(model, given) if found.name == prediction.name), None)
    return again is not None and len(compare(again, actual[differing]).rows_differing) == 0
