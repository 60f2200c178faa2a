from __future__ import annotations

import threading

import numpy as np
import pytest
from onnx import TensorProto, helper

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


MODELS = [onnx_models.linear, onnx_models.row_of_table, onnx_models.gather, lambda: onnx_models.identity(TensorProto.BFLOAT16)]


@pytest.mark.parametrize("make", MODELS)
def test_models_warm_up_on_zeros(make):
    assert OnnxSession(make()).warm_up() == ""


def test_runs_beside_each_other_do_not_mix():
    model = onnx_models.linear()
    session = OnnxSession(model)
    inputs = [np.random.default_rng(seed).normal(size=(seed + 1, 4)).astype("f4") for seed in range(8)]
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
