from __future__ import annotations

import pytest
from mlops.common.v1.options_pb2 import MethodPolicy

from servers.runtime.calls import Method
from servers.runtime.lane.endpoints import Endpoints
from servers.runtime.lane.rest_codec import RestBinding
from servers.runtime.lane.templates import PathTemplate
from servers.runtime.lane.wires import RestWire


def method(name: str) -> Method:
    return Method(f"/a.Service/{name}", MethodPolicy(), None, None, request_streaming=False, response_streaming=False)


def add(endpoints: Endpoints, name: str, template: str) -> None:
    endpoints.add_rest(method(name), lambda request, context: None, RestBinding("GET", PathTemplate(template), ""), RestWire())


@pytest.mark.parametrize("model", ["m", "m" * 10_000], ids=["remembered", "too long to be remembered"])
def test_a_path_is_found_again_with_its_own_variables(model: str) -> None:
    endpoints = Endpoints()
    add(endpoints, "Get", "/models/{model}")

    for name in (model, f"{model}2", model):
        found = endpoints.rest("GET", f"/models/{name}")
        assert found is not None
        assert found[0].method.path == "/a.Service/Get"
        assert found[1] == (("model", name),)
    assert endpoints.rest("POST", f"/models/{model}") is None


def test_what_is_added_later_is_found_where_something_else_was_before() -> None:
    endpoints = Endpoints()
    add(endpoints, "Get", "/models/{model}")
    assert endpoints.rest("GET", "/models/stats") is not None

    add(endpoints, "Stats", "/models/stats")

    found = endpoints.rest("GET", "/models/stats")
    assert found is not None
    assert found[0].method.path == "/a.Service/Stats"
