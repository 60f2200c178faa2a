from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlops.registry.v1 import registry_service_pb2

from tools.contracts.openapi import paths
from tools.contracts.openapi.paths import PathVariable, UnsupportedTemplate

_NAMES = st.from_regex(r"\A[a-z][a-z0-9_]{0,8}(\.[a-z][a-z0-9_]{0,8})?\Z")


@pytest.mark.parametrize(
    ("template", "path", "variables"),
    [
        ("/api/v1/models", "/api/v1/models", ()),
        ("/api/v1/models/{name}", "/api/v1/models/{name}", (PathVariable("name", "name", False),)),
        ("/api/v1/models/{name=*}", "/api/v1/models/{name}", (PathVariable("name", "name", False),)),
        ("/api/v1/models/{model.name}:restore", "/api/v1/models/{name}:restore", (PathVariable("model.name", "name", False),)),
        ("/api/v1/models:search", "/api/v1/models:search", ()),
        (
            "/v1/{from.name}/to/{to.name}",
            "/v1/{from_name}/to/{to_name}",
            (PathVariable("from.name", "from_name", False), PathVariable("to.name", "to_name", False)),
        ),
        (
            "/api/v1/runs/{run_id}/artifacts/{path=**}",
            "/api/v1/runs/{run_id}/artifacts/{path}",
            (PathVariable("run_id", "run_id", False), PathVariable("path", "path", True)),
        ),
    ],
)
def test_a_template_is_read(template: str, path: str, variables: tuple[PathVariable, ...]) -> None:
    assert paths.parse(template) == paths.Template(path=path, variables=variables)


@pytest.mark.parametrize(
    ("template", "mistake"),
    [
        ("/v1/{name=models/*}", "variable 'name' has the pattern 'models/*'"),
        ("/v1/*/models", "wildcards only inside of variables"),
        ("v1/models", "expected `/segment/"),
        ("/v1/{Name}", "wildcards only inside of variables"),
    ],
)
def test_a_template_that_openapi_cannot_say_is_refused(template: str, mistake: str) -> None:
    with pytest.raises(UnsupportedTemplate, match=mistake.replace("*", r"\*").replace("/", "/")):
        paths.parse(template)


@given(names=st.lists(_NAMES, min_size=1, max_size=4, unique=True), verb=st.sampled_from(["", ":restore"]))
def test_templates_that_differ_in_names_only_have_one_shape(names: list[str], verb: str) -> None:
    template = "/" + "/".join(f"s/{{{name}}}" for name in names) + verb
    anonymous = "/" + "/".join(f"s/{{v{index}}}" for index, _ in enumerate(names)) + verb

    assert paths.shape(template) == paths.shape(anonymous)
    assert [variable.path for variable in paths.parse(template).variables] == names


def test_a_variable_is_a_single_scalar_field() -> None:
    request = registry_service_pb2.UpdateModelRequest.DESCRIPTOR

    assert paths.resolve(request, "model.name").full_name == "mlops.registry.v1.Model.name"
    for wrong in ("model", "model.tags", "nothing", "model.name.more"):
        with pytest.raises(UnsupportedTemplate, match="UpdateModelRequest"):
            paths.resolve(request, wrong)
