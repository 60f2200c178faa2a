from __future__ import annotations

import pytest

from servers.serving.open_inference import contract
from servers.serving.open_inference.errors import InvalidInferRequest, UnservedExtension
from servers.serving.open_inference.grpc_infer import infer_call, values_of
from servers.serving.open_inference.parameters import flag_of, refuse_unserved, text_of


def test_parameters_of_every_kind_are_read() -> None:
    request = contract.ModelInferRequest()
    request.parameters["a"].bool_param = True
    request.parameters["b"].int64_param = -1
    request.parameters["c"].string_param = "x"
    request.parameters["d"].double_param = 0.5
    request.parameters["e"].uint64_param = 2**63
    request.parameters["f"].SetInParent()

    assert values_of(request.parameters) == {"a": True, "b": -1, "c": "x", "d": 0.5, "e": 2**63, "f": None}


def test_a_parameter_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidInferRequest, match=r"parameters\.mlmesh_project: expected a string; got 3"):
        text_of({"mlmesh_project": 3}, "mlmesh_project")
    with pytest.raises(InvalidInferRequest, match="expected true or false; got null"):
        flag_of({"ready": None}, "ready", "body", default=False)


def test_unknown_parameters_are_passed_over() -> None:
    refuse_unserved({"priority", "timeout", "sequence_id"}, "parameters")


def test_an_output_as_classes_is_refused_over_grpc_too() -> None:
    request = contract.ModelInferRequest(model_name="m")
    request.outputs.add(name="y").parameters["classification"].int64_param = 3

    with pytest.raises(UnservedExtension, match=r"outputs\[0\].parameters.classification"):
        infer_call(request)
