"""The generator on a contract that uses everything the JSON mapping knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tools.contracts import compiler, layout, reference
from tools.contracts.openapi import document, paths
from tools.contracts.openapi.operations import NoPolicy
from tools.contracts.reading import Contracts

_POLICY = "option (mlops.common.v1.policy) = {access: ACCESS_PUBLIC, idempotency: IDEMPOTENCY_READ_ONLY, rate_class: RATE_CLASS_READ};"
_HEAD = """
syntax = "proto3";
package mlops.probe.v1;
import "buf/validate/validate.proto";
import "google/api/annotations.proto";
import "google/api/field_behavior.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "mlops/common/v1/options.proto";
import "mlops/common/v1/stream.proto";
"""
_EVERYTHING = """
// Everything.
service ProbeService {
  // Probes. And says more.
  rpc Probe(ProbeRequest) returns (Everything) {
    option (google.api.http) = {get: "/api/v1/probes/{name=**}"};
    %(policy)s
  }
  // Watches.
  rpc Watch(WatchRequest) returns (stream WatchResponse) {
    option (google.api.http) = {get: "/api/v1/probes:watch"};
    %(policy)s
  }
  // Forgets.
  rpc Forget(ForgetRequest) returns (google.protobuf.Empty) {
    option (google.api.http) = {post: "/api/v1/probes:forget" body: "names"};
    option deprecated = true;
    %(policy)s
  }
  // Not over REST.
  rpc Hide(HideRequest) returns (google.protobuf.Empty) { %(policy)s }
}
message ProbeRequest {
  string name = 1;
  // Required. Depth.
  int32 depth = 2 [(google.api.field_behavior) = REQUIRED, (buf.validate.field).int32 = {gt: 0, lte: 9}];
  repeated string tag = 3;
  Inner inner = 4;
  google.protobuf.Timestamp since = 5;
  map<string, string> labels = 6;
  google.protobuf.Struct free = 7;
  google.protobuf.FieldMask mask = 8;
}
message Inner {
  string text = 1;
  Everything deep = 2;
  Inner self = 3;
}
message WatchRequest {}
message WatchResponse {
  oneof message {
    Everything item = 1;
    mlops.common.v1.StreamEnd end = 2;
  }
}
message ForgetRequest { repeated string names = 1; }
message HideRequest {}
enum Color {
  COLOR_UNSPECIFIED = 0;
  // Like blood.
  COLOR_RED = 1;
}
// All kinds.
message Everything {
  int64 big = 1 [(buf.validate.field).int64.gt = 0];
  uint64 unsigned_big = 2;
  sint64 signed_big = 3;
  uint32 count = 4;
  bytes raw = 5 [(buf.validate.field).bytes = {min_len: 1, max_len: 4}];
  double ratio = 6;
  float share = 7 [(buf.validate.field).float = {gte: 0, lt: 1}];
  Color color = 8 [(buf.validate.field).enum = {not_in: [0]}];
  map<int32, Inner> inners = 9;
  map<string, int64> sizes = 10 [(buf.validate.field).map = {max_pairs: 3, keys: {string: {max_len: 5}}}];
  google.protobuf.Timestamp time = 11;
  google.protobuf.Duration wait = 12;
  google.protobuf.Struct struct = 13;
  google.protobuf.Value value = 14;
  google.protobuf.Any any = 15;
  google.protobuf.Int64Value maybe = 16;
  oneof one {
    string a = 17;
    int32 b = 18;
  }
  oneof must {
    option (buf.validate.oneof).required = true;
    string c = 19;
    string d = 20;
  }
  optional string perhaps = 21;
  repeated Everything children = 22 [(buf.validate.field).repeated = {min_items: 1, max_items: 2}];
  string id = 23 [(buf.validate.field).string.uuid = true];
  string prefix = 24 [(buf.validate.field).string = {prefix: "a.", not_in: ["a.b"]}];
  string old = 25 [deprecated = true];
}
"""


def _contracts(folder: Path, body: str) -> Contracts:
    for name in ("options", "stream"):
        target = folder / "mlops" / "common" / "v1" / f"{name}.proto"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((layout.PROTO_ROOT / "mlops" / "common" / "v1" / f"{name}.proto").read_text())
    probe = folder / "mlops" / "probe" / "v1" / "probe_service.proto"
    probe.parent.mkdir(parents=True, exist_ok=True)
    probe.write_text(_HEAD + body % {"policy": _POLICY})
    return Contracts.of_image(compiler.compile_image(with_comments=True, proto_root=folder))


@pytest.fixture(scope="module")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Contracts:
    return _contracts(tmp_path_factory.mktemp("proto"), _EVERYTHING)


@pytest.fixture(scope="module")
def openapi(contracts: Contracts) -> dict[str, Any]:
    return document.build(contracts)


@pytest.fixture(scope="module")
def everything(openapi: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = openapi["components"]["schemas"]["probe.v1.Everything"]
    return found


def test_it_is_valid(openapi: dict[str, Any]) -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(openapi).iter_errors()] == []


@pytest.mark.parametrize(
    ("field", "schema"),
    [
        ("big", {"type": "string", "format": "int64", "pattern": "^[1-9][0-9]{0,18}$"}),
        ("unsigned_big", {"type": "string", "format": "uint64", "pattern": "^(0|[1-9][0-9]{0,19})$"}),
        ("signed_big", {"type": "string", "format": "int64", "pattern": "^(0|-?[1-9][0-9]{0,18})$"}),
        ("count", {"type": "integer", "format": "uint32", "minimum": 0, "maximum": 2**32 - 1}),
        ("raw", {"type": "string", "format": "byte", "contentEncoding": "base64", "minLength": 2, "maxLength": 8}),
        ("share", {"type": "number", "format": "float", "minimum": 0.0, "exclusiveMaximum": 1.0}),
        ("color", {"$ref": "#/components/schemas/probe.v1.Color", "not": {"enum": ["COLOR_UNSPECIFIED"]}}),
        ("inners", {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/probe.v1.Inner"}}),
        (
            "sizes",
            {
                "type": "object",
                "additionalProperties": {"type": "string", "format": "int64", "pattern": "^(0|-?[1-9][0-9]{0,18})$"},
                "propertyNames": {"type": "string", "maxLength": 5},
                "maxProperties": 3,
            },
        ),
        ("struct", {"type": "object"}),
        ("value", {}),
        ("maybe", {"type": "string", "format": "int64", "pattern": "^(0|-?[1-9][0-9]{0,18})$"}),
        (
            "children",
            {"type": "array", "items": {"$ref": "#/components/schemas/probe.v1.Everything"}, "minItems": 1, "maxItems": 2},
        ),
        ("id", {"type": "string", "format": "uuid"}),
        ("prefix", {"type": "string", "not": {"enum": ["a.b"]}, "allOf": [{"pattern": r"^a\."}]}),
        ("old", {"type": "string", "deprecated": True}),
    ],
)
def test_a_field_becomes_its_json_form(everything: dict[str, Any], field: str, schema: dict[str, Any]) -> None:
    assert everything["properties"][field] == schema


def test_a_float_that_may_be_infinite_is_a_number_or_its_name(everything: dict[str, Any]) -> None:
    assert everything["properties"]["ratio"] == {
        "anyOf": [{"type": "number", "format": "double"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]
    }


def test_a_oneof_has_at_most_one_member_and_a_required_one_exactly_one(everything: dict[str, Any]) -> None:
    one, must = [{"required": ["a"]}, {"required": ["b"]}], [{"required": ["c"]}, {"required": ["d"]}]

    assert everything["allOf"] == [{"oneOf": [*one, {"not": {"anyOf": one}}]}, {"oneOf": must}]


def test_an_enum_is_its_names_and_says_what_they_mean(openapi: dict[str, Any]) -> None:
    color = openapi["components"]["schemas"]["probe.v1.Color"]

    assert color["enum"] == ["COLOR_UNSPECIFIED", "COLOR_RED"]
    assert "- `COLOR_RED`: Like blood." in color["description"]


def test_a_query_takes_scalars_lists_and_texts_but_no_maps_and_no_free_json(openapi: dict[str, Any]) -> None:
    operation = openapi["paths"]["/api/v1/probes/{name}"]["get"]
    parameters = {each["name"]: each for each in operation["parameters"]}
    deep = {name for name in parameters if name.startswith("inner.")}

    assert operation["summary"] == "Probes"
    assert parameters.keys() - deep == {"name", "depth", "tag", "since", "mask"}
    assert "inner.text" in deep
    assert parameters["name"]["description"].endswith("May contain `/`.")
    assert parameters["depth"] == {
        "name": "depth",
        "in": "query",
        "required": True,
        "description": "Required. Depth.",
        "schema": {"type": "integer", "format": "int32", "minimum": -(2**31), "exclusiveMinimum": 0, "maximum": 9},
    }


def test_a_stream_is_one_document_a_line(openapi: dict[str, Any]) -> None:
    answer = openapi["paths"]["/api/v1/probes:watch"]["get"]["responses"]["200"]

    assert answer["content"] == {"application/x-ndjson": {"schema": {"$ref": "#/components/schemas/probe.v1.WatchResponse"}}}


def test_a_body_may_be_a_list_and_the_answer_nothing(openapi: dict[str, Any]) -> None:
    operation = openapi["paths"]["/api/v1/probes:forget"]["post"]

    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"type": "array", "items": {"type": "string"}}
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {"type": "object", "maxProperties": 0}
    assert operation["deprecated"] is True


def test_a_method_without_a_rest_binding_is_in_the_reference_and_not_in_openapi(contracts: Contracts, openapi: dict[str, Any]) -> None:
    operations = {operation["operationId"] for verbs in openapi["paths"].values() for operation in verbs.values()}
    pages = reference.pages(contracts)

    assert operations == {"ProbeService_Probe", "ProbeService_Watch", "ProbeService_Forget"}
    assert "### Hide" in pages["probe.md"]
    assert "| [probe](probe.md) | `mlops.probe.v1.ProbeService` | Everything. |" in pages["README.md"]


def test_the_reference_links_types_and_says_rules(contracts: Contracts) -> None:
    page = reference.pages(contracts)["probe.md"]

    assert "| `depth` | int32 | Required. Depth. | int32.gt: 0; int32.lte: 9 |" in page or "int32.lte: 9; int32.gt: 0" in page
    assert "| `inners` | map of int32 to [Inner](#inner) |" in page
    assert "| `end` (one of `message`) | [StreamEnd](common.md#streamend) |" in page
    assert "| `perhaps` | string |" in page


def test_two_methods_with_one_path_are_refused(tmp_path: Path) -> None:
    body = """
    service AService {
      rpc One(OneRequest) returns (google.protobuf.Empty) { option (google.api.http) = {get: "/api/v1/a"}; %(policy)s }
      rpc Two(TwoRequest) returns (google.protobuf.Empty) { option (google.api.http) = {get: "/api/v1/a"}; %(policy)s }
    }
    message OneRequest {}
    message TwoRequest {}
    """

    with pytest.raises(document.PathClash, match=r"GET /api/v1/a: mlops.probe.v1.AService.Two and AService_One"):
        document.build(_contracts(tmp_path, body))


def test_one_path_with_two_names_for_its_variable_is_refused(tmp_path: Path) -> None:
    body = """
    service AService {
      rpc One(OneRequest) returns (google.protobuf.Empty) { option (google.api.http) = {get: "/api/v1/{a}"}; %(policy)s }
      rpc Two(TwoRequest) returns (google.protobuf.Empty) { option (google.api.http) = {post: "/api/v1/{b}"}; %(policy)s }
    }
    message OneRequest { string a = 1; }
    message TwoRequest { string b = 1; }
    """

    with pytest.raises(document.PathClash, match=r"/api/v1/{b} and /api/v1/{a} are one path; name their variables alike"):
        document.build(_contracts(tmp_path, body))


def test_a_method_without_a_policy_is_refused(tmp_path: Path) -> None:
    body = """
    service AService { rpc One(OneRequest) returns (google.protobuf.Empty) { option (google.api.http) = {get: "/api/v1/a"}; } }
    message OneRequest {}
    """

    with pytest.raises(NoPolicy, match=r"AService\.One"):
        document.build(_contracts(tmp_path, body))


def test_a_path_with_a_field_that_is_not_there_is_refused(tmp_path: Path) -> None:
    body = """
    service AService {
      rpc One(OneRequest) returns (google.protobuf.Empty) { option (google.api.http) = {get: "/api/v1/{id}"}; %(policy)s }
    }
    message OneRequest {}
    """

    with pytest.raises(paths.UnsupportedTemplate, match="OneRequest has no field 'id'"):
        document.build(_contracts(tmp_path, body))
