from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from model_management.formats import ArtifactDamaged, UntrustedTypes, load_artifact, save_artifact
from model_management.signature import TensorSpec

TRUSTED = ["tensorflow.SavedModel"]


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((4,)),
        keras.layers.Dense(8, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(3, activation="softmax"),
    ]
    return keras.Sequential(layers)


def rows(count: int, width: int = 4) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, width)).astype(np.float32)


def test_a_keras_model_comes_back_as_a_saved_model_that_answers_the_same(classifier: keras.Model, tmp_path: Path) -> None:
    saved = save_artifact(classifier, tmp_path / "x", onnx="off")
    loaded = load_artifact(tmp_path / "x", saved.format, trusted_types=saved.metadata["untrusted_types"])
    np.testing.assert_allclose(loaded.serve(rows(5)).numpy(), classifier.predict(rows(5), verbose=0), atol=1e-6)


@pytest.mark.parametrize("has_sample", [True, False])
def test_the_onnx_predicts_what_the_model_predicts(classifier: keras.Model, tmp_path: Path, has_sample: bool) -> None:
    saved = save_artifact(classifier, tmp_path / "x", sample_input=rows(9) if has_sample else None, onnx="require")
    assert saved.signature is not None
    assert saved.signature.inputs == (TensorSpec("input", "FP32", (-1, 4)),)
    assert saved.signature.outputs == (TensorSpec("output", "FP32", (-1, 3)),)
    session = onnxruntime.InferenceSession(tmp_path / "x" / "model.onnx")
    np.testing.assert_allclose(session.run(None, {"input": rows(33)})[0], classifier.predict(rows(33), verbose=0), atol=1e-5)


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    first, second = keras.Input((4,), name="first"), keras.Input((2,), name="second")
    joined = keras.layers.Concatenate()([first, second])
    model = keras.Model([first, second], [keras.layers.Dense(1)(joined), keras.layers.Dense(2)(joined)])
    saved = save_artifact(model, tmp_path / "x", sample_input=(rows(6), rows(6, 2)), onnx="require")
    assert saved.signature is not None
    assert [(spec.name, spec.shape) for spec in saved.signature.inputs] == [("input_0", (-1, 4)), ("input_1", (-1, 2))]
    session = onnxruntime.InferenceSession(tmp_path / "x" / "model.onnx")
    actual = session.run(["output_0", "output_1"], {"input_0": rows(7), "input_1": rows(7, 2)})
    for values, expected in zip(actual, model.predict([rows(7), rows(7, 2)], verbose=0), strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-5)


def test_images_through_convolutions(tmp_path: Path) -> None:
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential(layers)
    saved = save_artifact(model, tmp_path / "x", sample_input=np.random.default_rng(0).random((2, 8, 8, 3)), onnx="require")
    assert saved.signature is not None
    assert saved.signature.inputs[0].shape == (-1, 8, 8, 3)


def test_a_module_without_keras_is_saved_without_an_onnx(tmp_path: Path) -> None:
    class Doubling(tf.Module):
        """A plain module."""

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
        def __call__(self, features: tf.Tensor) -> tf.Tensor:
            return 2 * features

    saved = save_artifact(Doubling(), tmp_path / "x", sample_input=rows(3))
    assert (saved.format, saved.onnx_file) == ("tensorflow", None)
    assert saved.metadata["onnx"]["reason"] == "only a Keras model with known inputs is converted"
    assert saved.signature is not None
    assert saved.signature.inputs == (TensorSpec("input", "FP32", (-1, 4)),)
    loaded = load_artifact(tmp_path / "x", "tensorflow", trusted_types=TRUSTED)
    np.testing.assert_array_equal(loaded(rows(3)).numpy(), 2 * rows(3))


def test_a_saved_model_is_loaded_only_by_who_trusts_it(classifier: keras.Model, tmp_path: Path) -> None:
    save_artifact(classifier, tmp_path / "x", onnx="off")
    with pytest.raises(UntrustedTypes, match=r"tensorflow\.SavedModel"):
        load_artifact(tmp_path / "x", "tensorflow")


def test_a_damaged_saved_model_is_an_error_of_ours(classifier: keras.Model, tmp_path: Path) -> None:
    save_artifact(classifier, tmp_path / "x", onnx="off")
    path = tmp_path / "x" / "saved_model" / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtifactDamaged, match="saved_model"):
        load_artifact(tmp_path / "x", "tensorflow", trusted_types=TRUSTED)
    path.unlink()
    with pytest.raises(ArtifactDamaged, match="saved_model"):
        load_artifact(tmp_path / "x", "tensorflow", trusted_types=TRUSTED)


def test_a_sample_of_another_shape_is_named(classifier: keras.Model, tmp_path: Path) -> None:
    saved = save_artifact(classifier, tmp_path / "x", sample_input=(rows(3), rows(3)))
    assert saved.metadata["onnx"]["reason"] == "the model has 1 inputs, sample_input 2"
    saved = save_artifact(classifier, tmp_path / "y", sample_input=rows(3, 5))
    assert "does not predict for sample_input" in saved.metadata["onnx"]["reason"]
