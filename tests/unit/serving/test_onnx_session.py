from __future__ import annotations

import threading

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from servers.serving.errors import ModelLoadFailed, ModelRunRefused
from servers.serving.json_values import bfloat16_values
from servers.serving.onnx_session import OnnxSession
from servers.serving.signature import ELEMENT_TYPES, TensorSpec
from tests.small_mesh import onnx_models

ONNX_TYPES = {
    **{"BOOL": TensorProto.BOOL, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16, "UINT32": TensorProto.UINT32},
    **{"UINT64": TensorProto.UINT64, "INT8": TensorProto.INT8, "INT16": TensorProto.INT16, "INT32": TensorProto.INT32},
    **{"INT64": TensorProto.INT64, "FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE},
    **{"BF16": TensorProto.BFLOAT16, "BYTES": TensorProto.STRING},
}


@pytest.mark.parametrize("datatype", sorted(ELEMENT_TYPES))
@pytest.mark.parametrize("shape", [(3,), (0,)])
def test_every_element_type_goes_through_a_model_unchanged(datatype, shape):
    session = OnnxSession(onnx_models.identity(ONNX_TYPES[datatype]))
    numbers = np.arange(shape[0]).astype(ELEMENT_TYPES[datatype].dtype if datatype != "BYTES" else "i8")
    array = np.array(["a", "", "ü"][: shape[0]], dtype=object) if datatype == "BYTES" else numbers

    (answer,) = session.run({"x": array})

    assert session.signature.inputs == (TensorSpec("x", datatype, (-1,), ("N",)),)
    assert answer.tolist() == array.tolist()


def test_a_scalar_goes_through_a_model():
    session = OnnxSession(onnx_models.identity(TensorProto.BFLOAT16, ()))

    (answer,) = session.run({"x": np.array(0x3FC0, "<u2")})

    assert answer.shape == ()
    assert bfloat16_values(answer) == 1.5


def test_runs_have_the_bits_of_onnx_runtime():
    model = onnx_models.linear()
    x = np.random.default_rng(0).normal(size=(9, 4)).astype("f4")

    assert OnnxSession(model).run({"x": x})[0].tobytes() == onnx_models.run(model, {"x": x})[0].tobytes()


def test_outputs_come_in_the_order_asked_for():
    session = OnnxSession(onnx_models.row_of_table())
    feeds = {"carrier": np.array([["AA"]], dtype=object), "distance": np.ones((1, 1), "f4"), "month": np.ones((1, 1), "i8")}

    assert [array.tolist() for array in session.run(feeds, [1, 0])] == [[[2.0]], [["AA"]]]


def test_inputs_that_the_graph_refuses_are_told_without_the_insides_of_onnx_runtime():
    session = OnnxSession(onnx_models.gather(5))

    with pytest.raises(ModelRunRefused, match=r"the model does not run on them.*out of (data )?bounds") as raised:
        session.run({"index": np.array([7], "i8")})

    assert "onnxruntime/" not in raised.value.message
    assert "[ONNXRuntimeError]" not in raised.value.message


def test_a_file_that_is_no_model_is_refused():
    with pytest.raises(ModelLoadFailed, match=r"ONNX Runtime .* refuses the model"):
        OnnxSession(b"not a model")


def test_a_classifier_with_a_zipmap_is_refused_with_a_hint():
    inputs = [onnx_models.value("x", TensorProto.FLOAT, ["N", 2])]
    scores = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    outputs = [helper.make_value_info("p", helper.make_sequence_type_proto(scores))]
    node = helper.make_node("ZipMap", ["x"], ["p"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    graph = helper.make_graph([node], "graph", inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()

    with pytest.raises(ModelLoadFailed, match=r"output `p` .*only tensors are served; convert .*options=\{'zipmap': False\}"):
        OnnxSession(model)


def shifted() -> bytes:
    """`y = x + shift`: x FP32 [N, 2], and shift FP32 [2] with a value of its own."""
    x, shift = onnx_models.value("x", TensorProto.FLOAT, ["N", 2]), onnx_models.value("shift", TensorProto.FLOAT, [2])
    own = numpy_helper.from_array(np.array([10, 20], "f4"), "shift")
    node = helper.make_node("Add", ["x", "shift"], ["y"])
    return onnx_models.model([node], [x, shift], [onnx_models.value("y", TensorProto.FLOAT, ["N", 2])], [own]).SerializeToString()


@pytest.mark.parametrize("rows", [1, 3])
def test_an_input_with_a_value_of_its_own_may_be_given_or_left_out(rows):
    session = OnnxSession(shifted())
    x = np.ones((rows, 2), "f4")

    assert [(spec.name, spec.is_optional) for spec in session.signature.inputs] == [("x", False), ("shift", True)]
    assert session.run({"x": x})[0].tolist() == [[11, 21]] * rows
    assert session.run({"x": x, "shift": np.array([1, 2], "f4")})[0].tolist() == [[2, 3]] * rows
    assert session.run({"x": x})[0].tolist() == [[11, 21]] * rows
    assert session.warm_up() == ""


def test_answers_to_single_rows_do_not_share_memory_with_what_comes_after():
    session = OnnxSession(onnx_models.linear())
    first, second = np.ones((1, 4), "f4"), np.zeros((1, 4), "f4")

    (answer,) = session.run({"x": first}, (0,))
    kept = answer.copy()
    session.run({"x": second}, (0,))

    assert answer.tobytes() == kept.tobytes()


@pytest.mark.parametrize("model", ["linear", "wide"])
def test_a_single_row_has_the_bits_of_onnx_runtime(model):
    onnx = onnx_models.linear() if model == "linear" else onnx_models.linear(20_000, 2)
    x = np.random.default_rng(1).normal(size=(1, 4 if model == "linear" else 20_000)).astype("f4")

    for _ in range(2):
        assert OnnxSession(onnx).run({"x": x})[0].tobytes() == onnx_models.run(onnx, {"x": x})[0].tobytes()


@pytest.mark.parametrize("symbol", ["N", None])
def test_an_output_with_more_rows_than_its_signature_made_believe_is_given_whole(symbol):
    x = onnx_models.value("x", TensorProto.FLOAT, ["N", 2])
    node = helper.make_node("Concat", ["x", "x"], ["y"], axis=0)
    model = onnx_models.model([node], [x], [onnx_models.value("y", TensorProto.FLOAT, [symbol, 2])]).SerializeToString()
    session = OnnxSession(model)

    for _ in range(3):
        assert session.run({"x": np.array([[1, 2]], "f4")})[0].tolist() == [[1, 2], [1, 2]]


def test_an_input_of_which_every_row_is_refused_does_not_end_the_short_way():
    session = OnnxSession(onnx_models.gather(5))
    with pytest.raises(ModelRunRefused):
        session.run({"index": np.array([7], "i8")})

    assert session.run({"index": np.array([3], "i8")})[0].tolist() == [3]


MODELS = [onnx_models.linear, onnx_models.row_of_table, onnx_models.gather, lambda: onnx_models.identity(TensorProto.BFLOAT16)]


@pytest.mark.parametrize("make", MODELS)
def test_models_warm_up_on_zeros(make):
    assert OnnxSession(make()).warm_up() == ""


def test_runs_beside_each_other_do_not_mix():
    model = onnx_models.linear()
    session = OnnxSession(model)
    inputs = [np.random.default_rng(seed).normal(size=(seed // 4 + 1, 4)).astype("f4") for seed in range(8)]
    expected = [session.run({"x": x})[0] for x in inputs]
    wrong: list[int] = []

    def predict(index: int) -> None:
        answers = (session.run({"x": inputs[index]})[0] for _ in range(200))
        wrong.extend(index for answer in answers if not np.array_equal(answer, expected[index]))

    threads = [threading.Thread(target=predict, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
