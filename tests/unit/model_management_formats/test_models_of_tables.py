"""Every kind of model of tables: saved, loaded, and as ONNX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnxruntime
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeRegressor

from model_management.formats import load_artifact, save_artifact
from tests.unit.model_management_formats.conftest import Data

QUIET: dict[str, Any] = {"verbose": -1, "n_estimators": 8}


def table(encoder: Any, numbers: Any = "passthrough") -> ColumnTransformer:
    return ColumnTransformer([("texts", encoder, ["d"]), ("numbers", numbers, ["a", "b", "c"])])


def ordinals() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)


def imputed() -> Any:
    return make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))


MODELS: dict[str, Callable[[Data], tuple[Any, Any]]] = {
    "logistic": lambda d: (LogisticRegression().fit(d.matrix, d.two), d.matrix),
    "logistic over words": lambda d: (LogisticRegression().fit(d.matrix, d.words), d.matrix),
    "logistic with names": lambda d: (LogisticRegression().fit(d.frame, d.two), d.frame),
    "bool classes": lambda d: (LogisticRegression().fit(d.matrix, d.two.astype(bool)), d.matrix),
    "forest": lambda d: (RandomForestClassifier(10).fit(d.matrix, d.three), d.matrix),
    "forest of two targets": lambda d: (RandomForestRegressor(5).fit(d.matrix, d.matrix[:, :2]), d.matrix),
    "gradient boosting": lambda d: (GradientBoostingClassifier(n_estimators=5).fit(d.matrix, d.two), d.matrix),
    "histogram classifier": lambda d: (HistGradientBoostingClassifier(max_iter=10).fit(d.matrix, d.two), d.matrix),
    "histogram regressor": lambda d: (HistGradientBoostingRegressor(max_iter=10).fit(d.frame, d.number), d.frame),
    "tree": lambda d: (DecisionTreeRegressor().fit(d.matrix, d.number), d.matrix),
    "scaled": lambda d: (make_pipeline(StandardScaler(), Ridge()).fit(d.matrix, d.number), d.matrix),
    "one-hot": lambda d: (
        make_pipeline(table(OneHotEncoder(handle_unknown="ignore"), StandardScaler()), LogisticRegression()).fit(d.mixed, d.two),
        d.mixed,
    ),
    "ordinals": lambda d: (make_pipeline(table(ordinals()), HistGradientBoostingClassifier(max_iter=10)).fit(d.mixed, d.two), d.mixed),
    "imputed": lambda d: (make_pipeline(table(imputed(), SimpleImputer()), Ridge()).fit(d.mixed, d.number), d.mixed),
    "columns of numbers by name": lambda d: (
        make_pipeline(ColumnTransformer([("scaled", StandardScaler(), ["a"])], remainder="passthrough"), Ridge()).fit(d.frame, d.number),
        d.frame,
    ),
    "linear svc": lambda d: (LinearSVC().fit(d.matrix, d.two), d.matrix),
    "svc": lambda d: (SVC().fit(d.matrix, d.three), d.matrix),
    "neighbours": lambda d: (KNeighborsClassifier().fit(d.matrix, d.two), d.matrix),
    "perceptron": lambda d: (MLPClassifier((8,), max_iter=300, tol=1).fit(d.matrix, d.two), d.matrix),
    "calibrated": lambda d: (CalibratedClassifierCV(LinearSVC()).fit(d.matrix, d.two), d.matrix),
    "voting": lambda d: (
        VotingClassifier([("a", LogisticRegression()), ("b", RandomForestClassifier(3))], voting="soft").fit(d.matrix, d.two),
        d.matrix,
    ),
    "stacking": lambda d: (StackingRegressor([("a", Ridge()), ("b", DecisionTreeRegressor())]).fit(d.matrix, d.number), d.matrix),
    "clusters": lambda d: (KMeans(3, n_init=1).fit(d.matrix), d.matrix),
    "outliers": lambda d: (IsolationForest(n_estimators=5).fit(d.matrix), d.matrix),
    "components": lambda d: (PCA(2).fit(d.matrix), d.matrix),
    "xgboost classifier": lambda d: (xgboost.XGBClassifier(n_estimators=8).fit(d.frame, d.two), d.frame),
    "xgboost of three": lambda d: (xgboost.XGBClassifier(n_estimators=8).fit(d.matrix, d.three), d.matrix),
    "xgboost regressor": lambda d: (xgboost.XGBRegressor(n_estimators=8).fit(d.matrix, d.number), d.matrix),
    "xgboost forest": lambda d: (xgboost.XGBRFRegressor(n_estimators=8).fit(d.matrix, d.number), d.matrix),
    "lightgbm classifier": lambda d: (lightgbm.LGBMClassifier(**QUIET).fit(d.frame, d.words), d.frame),
    "lightgbm of two": lambda d: (lightgbm.LGBMClassifier(**QUIET).fit(d.matrix, d.two), d.matrix),
    "lightgbm regressor": lambda d: (lightgbm.LGBMRegressor(**QUIET).fit(d.matrix, d.number), d.matrix),
    "lightgbm ranker": lambda d: (lightgbm.LGBMRanker(**QUIET).fit(d.matrix, d.two, group=[100, 200]), d.matrix),
    "lightgbm booster": lambda d: (
        lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1}, lightgbm.Dataset(d.matrix, d.three), 5),
        d.matrix,
    ),
    "xgboost in a pipeline": lambda d: (
        make_pipeline(StandardScaler(), xgboost.XGBRegressor(n_estimators=8)).fit(d.matrix, d.number),
        d.matrix,
    ),
    "lightgbm in a pipeline": lambda d: (make_pipeline(table(ordinals()), lightgbm.LGBMClassifier(**QUIET)).fit(d.mixed, d.two), d.mixed),
}


@pytest.fixture(scope="module", params=list(MODELS))
def model_and_rows(request: pytest.FixtureRequest, data: Data) -> tuple[Any, Any]:
    return MODELS[request.param](data)


def predictions(model: Any, rows: Any) -> dict[str, np.ndarray]:
    methods = ("predict", "predict_proba", "decision_function", "transform")
    return {method: np.asarray(getattr(model, method)(rows)) for method in methods if hasattr(model, method)}


def feeds(session: onnxruntime.InferenceSession, rows: Any) -> dict[str, np.ndarray]:
    """What a caller who has nothing but the signature would send."""
    dtypes = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(string)": object}
    inputs = session.get_inputs()
    if len(inputs) == 1:
        return {inputs[0].name: np.asarray(rows).astype(dtypes[inputs[0].type])}
    return {found.name: rows[[found.name]].to_numpy().astype(dtypes[found.type]) for found in inputs}


def test_a_model_comes_back_as_what_it_was(model_and_rows: tuple[Any, Any], tmp_path: Path) -> None:
    model, rows = model_and_rows
    saved = save_artifact(model, tmp_path / "model", onnx="off")
    loaded = load_artifact(tmp_path / "model", saved.format)
    assert type(loaded) is type(model)
    expected, actual = predictions(model, rows), predictions(loaded, rows)
    assert expected.keys() == actual.keys()
    for method, values in expected.items():
        np.testing.assert_array_equal(values, actual[method], err_msg=method)
    if hasattr(model, "classes_"):
        np.testing.assert_array_equal(model.classes_, loaded.classes_)
        assert model.classes_.dtype.kind == loaded.classes_.dtype.kind


@pytest.mark.parametrize("has_sample", [True, False], ids=["with a sample", "without"])
def test_the_onnx_predicts_what_the_model_predicts(model_and_rows: tuple[Any, Any], has_sample: bool, tmp_path: Path) -> None:
    model, rows = model_and_rows
    saved = save_artifact(model, tmp_path / "model", sample_input=rows if has_sample else None, onnx="require")
    assert saved.onnx_file == "model.onnx"
    session = onnxruntime.InferenceSession(tmp_path / "model" / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    actual = dict(zip(names, session.run(None, feeds(session, rows)), strict=True))
    expected = predictions(model, rows)
    if "label" in actual:
        reference = expected["predict"]
        is_scores = type(model).__name__ == "Booster"
        labels = reference.argmax(axis=1) if is_scores else reference * 1 if reference.dtype == bool else reference
        # A label may flip where rounding the input to float32 moves it over a threshold; never more than a row or two.
        assert np.mean(actual["label"].ravel().astype(str) == labels.astype(str)) > 0.99
    if "probabilities" in actual:
        reference = expected["predict"] if type(model).__name__ == "Booster" else expected["predict_proba"]
        assert np.mean(np.abs(actual["probabilities"] - reference).max(axis=1) < 1e-4) > 0.99
    if "prediction" in actual:
        reference = expected["predict"].reshape(len(rows), -1)
        assert np.mean(np.abs(actual["prediction"] - reference).max(axis=1) < 1e-3 * np.abs(reference).max()) > 0.99
    if "transformed" in actual:
        np.testing.assert_allclose(actual["transformed"], expected["transform"], atol=1e-3)
    assert set(names) <= {"label", "probabilities", "scores", "prediction", "transformed"}


def test_the_signature_is_that_of_the_onnx(model_and_rows: tuple[Any, Any], tmp_path: Path) -> None:
    model, rows = model_and_rows
    saved = save_artifact(model, tmp_path / "model", sample_input=rows, onnx="require")
    session = onnxruntime.InferenceSession(tmp_path / "model" / "model.onnx")
    signature = saved.signature
    assert signature is not None
    assert [spec.name for spec in signature.inputs] == [found.name for found in session.get_inputs()]
    assert [spec.name for spec in signature.outputs] == [found.name for found in session.get_outputs()]
    for spec, values in zip(signature.outputs, session.run(None, feeds(session, rows)), strict=True):
        assert (spec.shape[0], spec.shape[1:]) == (-1, values.shape[1:])
    if len(signature.inputs) > 1:
        assert [spec.name for spec in signature.inputs] == list(rows.columns)
        assert {spec.shape for spec in signature.inputs} == {(-1, 1)}
    else:
        assert signature.inputs[0].name == "input"
        assert signature.inputs[0].shape == (-1, 4)
        assert saved.metadata.get("columns", []) == (list(rows.columns) if hasattr(rows, "columns") else [])
