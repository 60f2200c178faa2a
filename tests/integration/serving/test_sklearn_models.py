"""Models as scikit-learn users have them, converted by skl2onnx: answers as ONNX Runtime gives them in process."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from mlops.serving.v1 import serving_service_pb2 as pb
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.integration.serving.calls import json_request, selector, tensor
from tests.small_mesh import onnx_models


@pytest.fixture(scope="module")
def iris():
    data = load_iris()
    return data.data.astype("f4"), data.target


def test_a_classifier_answers_label_and_probabilities(mesh, iris):
    features, target = iris
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(features, target)
    model = to_onnx(classifier, features[:1], options={"zipmap": False}).SerializeToString()
    mesh.registry.save_onnx("iris", model)
    stub = mesh.serve()
    label, probabilities = onnx_models.run(model, {"X": features[:10]})

    answer = json.loads(stub.PredictJson(json_request({"instances": features[:10].tolist()}, model="iris")).data)
    typed = stub.Predict(pb.PredictRequest(model=selector("iris"), inputs=[tensor("X", features[:10])]))

    assert answer["predictions"] == [
        {"label": int(row), "probabilities": chances} for row, chances in zip(label, probabilities.tolist(), strict=True)
    ]
    assert [output.raw for output in typed.outputs] == [label.tobytes(), probabilities.tobytes()]
    assert label.tolist() == classifier.predict(features[:10]).tolist()


def test_a_regressor_takes_missing_values_as_null(mesh, iris):
    features, target = iris
    model = to_onnx(HistGradientBoostingRegressor(max_iter=20).fit(features, target), features[:1]).SerializeToString()
    mesh.registry.save_onnx("iris", model)
    stub = mesh.serve()
    rows = features[:5].copy()
    rows[1, 2] = np.nan
    body = {"instances": [[None if np.isnan(value) else float(value) for value in row] for row in rows]}

    answer = json.loads(stub.PredictJson(json_request(body, model="iris")).data)

    assert answer["predictions"] == onnx_models.run(model, {"X": rows})[0].tolist()


def test_a_table_of_strings_and_numbers_is_sent_as_pandas_writes_it(mesh):
    table = pd.DataFrame({"carrier": ["AA", "UA", "DL", "AA"] * 10, "distance": np.linspace(100, 2000, 40).astype("f4")})
    late = (table["carrier"] == "AA").to_numpy().astype(int)
    encoder = ColumnTransformer(
        [("carrier", OneHotEncoder(handle_unknown="ignore"), ["carrier"]), ("distance", StandardScaler(), ["distance"])]
    )
    pipeline = make_pipeline(encoder, LogisticRegression()).fit(table, late)
    types = [("carrier", StringTensorType([None, 1])), ("distance", FloatTensorType([None, 1]))]
    model = to_onnx(pipeline, initial_types=types, options={"zipmap": False}).SerializeToString()
    mesh.registry.save_onnx("late", model)
    stub = mesh.serve()
    rows = table.head(6)
    feeds = {"carrier": rows[["carrier"]].to_numpy().astype(object), "distance": rows[["distance"]].to_numpy()}

    answer = json.loads(stub.PredictJson(json_request({"instances": json.loads(rows.to_json(orient="records"))}, model="late")).data)

    label, probabilities = onnx_models.run(model, feeds)
    assert [row["label"] for row in answer["predictions"]] == label.tolist()
    np.testing.assert_allclose([row["probabilities"] for row in answer["predictions"]], probabilities, rtol=1e-6)
