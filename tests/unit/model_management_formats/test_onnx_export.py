from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from model_management.formats import OnnxExportFailed, load_artifact, save_artifact
from model_management.onnx_export import OnnxNotPossible, export_onnx, signature_of_onnx, tabular
from model_management.onnx_export.graphs import rename_values
from model_management.signature import TensorSpec
from tests.unit.model_management_formats.conftest import Data


class Unconvertible(RegressorMixin, BaseEstimator):
    """An estimator that nobody has a converter for."""

    def fit(self, rows: Any, targets: Any) -> Unconvertible:
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows: Any) -> np.ndarray:
        return np.asarray(rows)[:, 0]


def test_an_onnx_that_predicts_something_else_is_not_kept(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LinearRegression().fit(data.matrix, data.number)
    other = LinearRegression().fit(data.matrix, data.number * 1.01)
    convert = tabular.convert
    monkeypatch.setattr(tabular, "convert", lambda _, layout: convert(other, layout))
    saved = save_artifact(model, tmp_path / "auto", sample_input=data.matrix)
    assert saved.onnx_file is None
    assert not (tmp_path / "auto" / "model.onnx").exists()
    assert "differs from the model's own in" in saved.metadata["onnx"]["reason"]
    assert saved.signature is not None
    assert saved.signature.inputs == (TensorSpec("input", "FP64", (-1, 4)),)
    with pytest.raises(OnnxExportFailed, match="differs from the model's own"):
        save_artifact(model, tmp_path / "required", sample_input=data.matrix, onnx="require")


def test_a_model_without_a_converter_is_saved_and_says_why_it_has_no_onnx(data: Data, tmp_path: Path) -> None:
    model = Unconvertible().fit(data.matrix, data.number)
    saved = save_artifact(model, tmp_path / "auto", sample_input=data.matrix)
    assert (saved.format, saved.onnx_file, saved.metadata["onnx"]["kept"]) == ("sklearn", None, False)
    assert "Unconvertible" in saved.metadata["onnx"]["reason"]
    with pytest.raises(OnnxExportFailed, match="Unconvertible"):
        save_artifact(model, tmp_path / "required", sample_input=data.matrix, onnx="require")


def test_without_onnx_the_signature_is_that_of_the_sample(data: Data, tmp_path: Path) -> None:
    saved = save_artifact(LogisticRegression().fit(data.matrix, data.words), tmp_path / "x", sample_input=data.matrix[:5], onnx="off")
    assert saved.signature is not None
    assert saved.signature.inputs == (TensorSpec("input", "FP64", (-1, 4)),)
    assert saved.signature.outputs == (TensorSpec("label", "BYTES", (-1,)), TensorSpec("probabilities", "FP64", (-1, 3)))
    assert save_artifact(LogisticRegression().fit(data.matrix, data.words), tmp_path / "y", onnx="off").signature is None


def test_a_value_beside_a_threshold_may_fall_on_its_other_side(tmp_path: Path) -> None:
    """Of a thousand values one differs from the next by less than float32 can tell; the ONNX is right about what it is given."""
    values = np.arange(1000, dtype=np.float64)
    values[500] = 499 + 1e-7
    model = HistGradientBoostingRegressor(max_iter=1, max_bins=255, min_samples_leaf=1, max_leaf_nodes=None, learning_rate=1.0)
    few = np.repeat([0.0, 499.0, values[500], 999.0], 50).reshape(-1, 1)
    model.fit(few, (few[:, 0] > 499).astype(float) * 100)
    sample = np.concatenate([values.reshape(-1, 1)[:500], [[500.0]], values.reshape(-1, 1)[501:]])
    sample[0] = values[500]
    report = export_onnx(model, "sklearn", sample).report
    assert report["rows_changed_by_rounding_the_input"] == 1
    with pytest.raises(OnnxNotPossible, match="differs"):
        export_onnx(model, "sklearn", np.full((100, 1), values[500]))


def test_a_pipeline_that_needs_double_precision_gets_it(data: Data) -> None:
    rows = data.matrix * 1e-4 + 1e6
    model = make_pipeline(FunctionTransformer(), LinearRegression()).fit(rows, data.number)
    export = export_onnx(model, "sklearn", rows)
    assert export.signature.inputs == (TensorSpec("input", "FP64", (-1, 4)),)


def test_texts_are_one_tensor(tmp_path: Path) -> None:
    texts = ["good day", "bad night", "good night", "bad day"] * 5
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0] * 5)
    saved = save_artifact(model, tmp_path / "x", sample_input=["Good morning", "bad bad day"], onnx="require")
    assert saved.signature is not None
    assert saved.signature.inputs == (TensorSpec("input", "BYTES", (-1, 1)),)
    session = onnxruntime.InferenceSession(tmp_path / "x" / "model.onnx")
    labels, _ = session.run(None, {"input": np.array([["a good one"], ["so bad"]], dtype=object)})
    assert labels.tolist() == [1, 0]


def test_missing_texts_are_empty_ones(data: Data, tmp_path: Path) -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    rows = data.mixed.astype({"d": object})
    rows.loc[::7, "d"] = np.nan
    encoder = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    model = make_pipeline(ColumnTransformer([("d", encoder, ["d"]), ("a", "passthrough", ["a"])]), LinearRegression()).fit(
        rows, data.number
    )
    save_artifact(model, tmp_path / "x", sample_input=rows, onnx="require")


def test_missing_numbers_stay_missing(data: Data) -> None:
    rows = data.matrix.copy()
    rows[::3, 1] = np.nan
    for model in (
        HistGradientBoostingRegressor(max_iter=5).fit(rows, data.number),
        xgboost.XGBRegressor(n_estimators=5).fit(rows, data.number),
    ):
        assert export_onnx(model, type(model).__module__.partition(".")[0], rows).report["rows_compared"] == 300


@pytest.mark.parametrize(
    ("booster", "why"),
    [({"booster": "dart"}, "kind dart"), ({"booster": "gblinear"}, "kind gblinear")],
    ids=["dart", "linear"],
)
def test_what_the_converter_gets_wrong_is_refused_with_a_reason(data: Data, booster: dict[str, Any], why: str) -> None:
    model = xgboost.XGBRegressor(n_estimators=3, **booster).fit(data.matrix, data.number)
    with pytest.raises(OnnxNotPossible, match=why):
        export_onnx(model, "xgboost", data.matrix)
    several = xgboost.XGBRegressor(n_estimators=3).fit(data.matrix, data.matrix[:, :2])
    with pytest.raises(OnnxNotPossible, match="several targets"):
        export_onnx(several, "xgboost", data.matrix)


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        (np.zeros((3, 9)), "does not predict for sample_input"),
        (np.zeros(4), "takes \\[rows, features\\]"),
        (np.array([["a", 1.0]], dtype=object), "pass a DataFrame"),
        ({"a": [1]}, "no table"),
        (pd.DataFrame({"a": pd.to_datetime(["2013-01-01"])}), "'a' has the datatype"),
    ],
    ids=["too wide", "one row", "texts in an array", "dictionary", "times"],
)
def test_a_sample_that_does_not_fit_is_named_in_the_reason(data: Data, sample: Any, why: str) -> None:
    with pytest.raises(OnnxNotPossible, match=why):
        export_onnx(LinearRegression().fit(data.matrix, data.number), "sklearn", sample)


def test_the_model_that_is_saved_is_not_changed_by_it(data: Data, tmp_path: Path) -> None:
    model = xgboost.XGBClassifier(n_estimators=3).fit(data.frame, data.two)
    save_artifact(model, tmp_path / "x", sample_input=data.frame)
    assert model.get_booster().feature_names == ["a", "b", "c", "d"]


def test_the_same_model_gives_the_same_onnx_so_that_it_is_stored_once(data: Data, tmp_path: Path) -> None:
    model = LogisticRegression().fit(data.matrix, data.two)
    for name in ("first", "second"):
        save_artifact(model, tmp_path / name, sample_input=data.matrix)
    assert (tmp_path / "first" / "model.onnx").read_bytes() == (tmp_path / "second" / "model.onnx").read_bytes()


def test_an_onnx_of_many_tensors_keeps_them_in_a_file_beside_it(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_management.formats.onnx._INSIDE_AT_MOST_BYTES", 0)
    weights = helper.make_tensor("w", TensorProto.FLOAT, [64, 64], np.ones(64 * 64, np.float32).tobytes(), raw=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save_artifact(model, tmp_path / "x")
    assert (tmp_path / "x" / "model.onnx.data").stat().st_size >= 64 * 64 * 4
    assert (tmp_path / "x" / "model.onnx").stat().st_size < 2000
    loaded = load_artifact(tmp_path / "x", "onnx")
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(loaded.graph.initializer[0]), np.ones((64, 64), np.float32))
    # Saving what lies in two files copies both.
    save_artifact(tmp_path / "x" / "model.onnx", tmp_path / "y")
    assert load_artifact(tmp_path / "y", "onnx") == loaded


DIMENSIONS = st.lists(st.one_of(st.integers(1, 9), st.just("n"), st.none()), max_size=4)


@given(
    DIMENSIONS, DIMENSIONS, st.sampled_from([("FP32", TensorProto.FLOAT), ("BYTES", TensorProto.STRING), ("BF16", TensorProto.BFLOAT16)])
)
def test_the_signature_of_any_onnx_has_its_names_datatypes_and_shapes(first: list[Any], second: list[Any], kind: tuple[str, int]) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind[1], first)],
        [helper.make_tensor_value_info("y", kind[1], second)],
    )
    signature = signature_of_onnx(helper.make_model(graph))
    for name, dimensions, spec in (("x", first, signature.inputs[0]), ("y", second, signature.outputs[0])):
        assert spec == TensorSpec(name, kind[0], tuple(size if isinstance(size, int) else -1 for size in dimensions))


@given(st.permutations(["x", "y", "z", "hidden"]))
def test_renaming_values_changes_names_and_nothing_else(names: list[str]) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["hidden"]), helper.make_node("Exp", ["hidden"], ["y"]), helper.make_node("Abs", ["x"], ["z"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("y", "z")]
    model = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    new = dict(zip(["y", "z"], names[:2], strict=True))
    if "x" in new.values():
        new = {old: f"{name}_" for old, name in new.items()}
    rename_values(model, new)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert [output.name for output in session.get_outputs()] == [new["y"], new["z"]]
    y, z = session.run(None, {session.get_inputs()[0].name: np.array([-1, 2], np.float32)})
    np.testing.assert_allclose(y, np.exp([1, -2]), rtol=1e-6)
    np.testing.assert_allclose(z, [1, 2])
