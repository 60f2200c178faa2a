from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tools.contracts.openapi import bodies, document, errors
from tools.contracts.reading import Contracts


@pytest.fixture(scope="session")
def openapi(contracts: Contracts) -> dict[str, Any]:
    built: dict[str, Any] = json.loads(json.dumps(document.build(contracts)))
    return built


def _operations(openapi: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in openapi["paths"].items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def _operation(openapi: dict[str, Any], operation_id: str) -> dict[str, Any]:
    (found,) = (operation for _, _, operation in _operations(openapi) if operation["operationId"] == operation_id)
    return found


def _resolved(openapi: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    node: Any = openapi
    for step in schema["$ref"].removeprefix("#/").split("/"):
        node = node[step]
    return {**node, **{key: value for key, value in schema.items() if key != "$ref"}}


def test_the_document_is_valid_openapi_3_1(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(openapi).iter_errors()] == []


def test_every_rest_binding_is_an_operation_and_nothing_else_is(openapi: dict[str, Any], contracts: Contracts) -> None:
    bound = sorted(
        (f"/{method.containing_service.full_name}/{method.name}", binding.verb.lower())
        for method in contracts.methods()
        for binding in contracts.bindings(method)
    )

    assert sorted((operation["x-mlmesh-method"], verb) for _, verb, operation in _operations(openapi)) == bound


def test_operation_ids_are_unique(openapi: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in _operations(openapi)]

    assert len(ids) == len(set(ids))


def test_every_documented_path_of_this_part_is_there(openapi: dict[str, Any]) -> None:
    verbs_by_path = {
        "/api/v1/predict": {"post"},
        "/api/v1/models/{model}/predict": {"post"},
        "/api/v1/models": {"get", "post"},
        "/api/v1/health": {"get"},
        "/api/v1/metrics": {"get"},
        "/api/v1/auth/login": {"post"},
        "/api/v1/auth/token": {"post"},
        "/api/v1/users": {"get", "post"},
        "/api/v1/permissions": {"get"},
        "/.well-known/jwks.json": {"get"},
    }

    assert {path: set(openapi["paths"].get(path, {})) & verbs for path, verbs in verbs_by_path.items()} == verbs_by_path


def test_every_error_answer_has_the_one_shape_or_that_of_its_protocol(openapi: dict[str, Any]) -> None:
    for path, verb, operation in _operations(openapi):
        for status, answer in operation["responses"].items():
            if status == "200":
                continue
            content = _resolved(openapi, answer)["content"]
            service = operation["x-mlmesh-method"].split("/")[1]
            shape = errors.OF_PROTOCOLS.get(service, {"$ref": "#/components/schemas/Error"})
            assert content == {"application/json": {"schema": shape}}, f"{verb} {path} {status}"


def test_every_status_that_the_transcoder_makes_of_a_grpc_code_is_documented() -> None:
    # google/rpc/code.proto, by which Envoy maps.
    mapped = {400, 401, 403, 404, 409, 429, 499, 500, 501, 503, 504}

    assert mapped <= {answer.status for answer in errors.ANSWERS}


def test_only_changes_answer_conflict_and_only_bodies_are_too_large(openapi: dict[str, Any]) -> None:
    for path, verb, operation in _operations(openapi):
        reads = operation["x-mlmesh-policy"]["idempotency"] == "read_only"
        assert ("409" in operation["responses"]) != reads, f"{verb} {path}"
        assert ("413" in operation["responses"]) == ("requestBody" in operation), f"{verb} {path}"


def test_public_methods_ask_for_no_credentials_and_others_name_their_permission(openapi: dict[str, Any]) -> None:
    assert _operation(openapi, "UserService_Login")["security"] == []
    assert _operation(openapi, "UserService_GetMe")["security"] == [{"bearer": []}, {"apiKey": []}]
    assert _operation(openapi, "ModelRegistryService_GetModel")["security"] == [
        {"bearer": ["registry.models.read"]},
        {"apiKey": ["registry.models.read"]},
    ]


def test_what_the_path_names_is_in_neither_body_nor_query(openapi: dict[str, Any]) -> None:
    for path, verb, operation in _operations(openapi):
        parameters = operation.get("parameters", [])
        in_path = {each["name"] for each in parameters if each["in"] == "path"}
        assert in_path == set(re.findall(r"{([^}]+)}", path)), f"{verb} {path}"
        assert not in_path & {each["name"] for each in parameters if each["in"] == "query"}, f"{verb} {path}"

    body = _operation(openapi, "ModelRegistryService_UpdateModel")["requestBody"]["content"]["application/json"]["schema"]
    assert "name" not in _resolved(openapi, body)["properties"]


def test_an_update_requires_nothing_and_a_creation_what_the_contract_says(openapi: dict[str, Any]) -> None:
    update = _operation(openapi, "UserService_UpdateUser")["requestBody"]
    creation = _operation(openapi, "UserService_CreateUser")["requestBody"]

    assert update["required"] is False
    assert "required" not in _resolved(openapi, update["content"]["application/json"]["schema"])
    assert creation["required"] is True
    assert _resolved(openapi, creation["content"]["application/json"]["schema"])["required"] == ["username"]


def test_what_a_body_does_not_carry_is_a_query_parameter(openapi: dict[str, Any]) -> None:
    parameters = {
        each["name"]: each for each in _operation(openapi, "ModelRegistryService_CreateModelVersion")["parameters"] if each["in"] == "query"
    }

    assert parameters.keys() == {"project", "create_model", "request_id"}
    assert parameters["create_model"]["schema"] == {"type": "boolean"}


def test_numbers_of_64_bits_are_strings_and_of_32_bits_are_not(openapi: dict[str, Any]) -> None:
    statistics = openapi["components"]["schemas"]["registry.v1.ModelStatistics"]["properties"]

    assert statistics["model_count"]["type"] == "string"
    assert openapi["components"]["schemas"]["registry.v1.Model"]["properties"]["latest_version"]["type"] == "integer"


def test_who_may_write_a_field_is_shown(openapi: dict[str, Any]) -> None:
    user = openapi["components"]["schemas"]["users.v1.User"]["properties"]

    assert user["create_time"]["readOnly"] is True
    assert user["password"]["writeOnly"] is True
    assert "readOnly" not in user["username"]


def test_a_prediction_is_described_as_people_write_it(openapi: dict[str, Any]) -> None:
    for operation_id in ("ModelServingService_PredictJson", "ModelServingService_PredictJson_2"):
        operation = _operation(openapi, operation_id)
        request = operation["requestBody"]["content"]["application/json"]["schema"]
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]

        assert {"instances", "inputs", "tensors"} <= request["properties"].keys()
        assert answer["required"] == ["predictions", "model", "prediction_id"]


def test_raw_bodies_have_their_own_content_types(openapi: dict[str, Any]) -> None:
    def types(operation_id: str) -> set[str]:
        return set(_operation(openapi, operation_id)["responses"]["200"]["content"])

    assert types("SystemMonitorService_GetMetrics") == {"text/plain"}
    assert types("ModelRegistryService_DownloadArtifact") == {"application/octet-stream", "application/x-tar"}
    upload = _operation(openapi, "ModelRegistryService_UploadArtifact")["requestBody"]
    assert upload["content"].keys() == {"application/octet-stream"}


def test_the_oauth2_endpoint_takes_forms_too(openapi: dict[str, Any]) -> None:
    body = _operation(openapi, "UserService_ExchangeToken")["requestBody"]["content"]

    assert body.keys() == {"application/json", "application/x-www-form-urlencoded"}


def test_every_described_raw_body_is_of_a_method(contracts: Contracts) -> None:
    methods = {method.full_name for method in contracts.methods()}

    assert set(bodies.RAW_BODIES) | set(bodies.ALSO_AS_FORM) <= methods


def test_an_undescribed_raw_body_is_refused() -> None:
    with pytest.raises(bodies.UndescribedBody, match="Nobody: its response is an HttpBody; add its content types to RAW_BODIES"):
        bodies.raw_response("mlops.registry.v1.Nobody")
