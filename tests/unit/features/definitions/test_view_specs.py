"""What views may be, and what is filled in."""

from __future__ import annotations

from typing import Any

import pytest
from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.definitions.view_specs import SourceColumns, check_parts, check_view_name, filled, own_name
from servers.features.errors import InvalidFeatureView
from tests.unit.features.definitions.defined import entity

USER = entity("user", user_id="int64")
ACCOUNT = entity("account", account_id="string", bank="string")
COLUMNS = {
    "user_id": "int32",
    "Account": "string",
    "bank": "string",
    "at": "timestamp[us]",
    "written": "timestamp[us, tz=UTC]",
    "Age": "int64",
    "score": "double",
    "local": "timestamp[us]",
    "shape": "struct<a: int64>",
    "empty": "null",
}
DATASET = SourceColumns("dataset 'd'", COLUMNS)


def spec_of(*features: str | dict[str, Any], source: str = "dataset", **more: Any) -> pb.FeatureViewSpec:
    named = [pb.Feature(**({"name": each} if isinstance(each, str) else each)) for each in features or ("score",)]
    sources: dict[str, Any] = {"dataset": pb.DatasetSource(dataset="d"), "push": pb.PushSource()}
    given: dict[str, Any] = {"entities": ["user"], "event_time_column": "at", "features": named, source: sources[source]}
    return pb.FeatureViewSpec(**(given | more))


def refused_field(spec: pb.FeatureViewSpec, source: SourceColumns) -> str | None:
    """The field that is wrong; None where none is."""
    try:
        check_parts(spec, [USER])
        filled(spec, [USER], source)
    except InvalidFeatureView as error:
        return error.metadata["field"]
    return None


def test_types_columns_and_keys_are_filled_in() -> None:
    spec = spec_of(
        "age", "score", {"name": "small", "column": "score", "type": "float32"},
        {"name": "none", "column": "empty", "type": "decimal(4,1)"},
        entities=["user", "account"], key_columns={"account_id": "account"}, write_time_column="WRITTEN",
    )  # fmt: skip

    check_parts(spec, [USER, ACCOUNT])
    found, keys = filled(spec, [USER, ACCOUNT], DATASET)

    assert [(each.name, each.type, each.column) for each in found.features] == [
        ("age", "int64", "Age"), ("score", "float64", "score"), ("small", "float32", "score"), ("none", "decimal(4, 1)", "empty"),
    ]  # fmt: skip
    assert [(key.join_key.name, key.column) for key in keys] == [("user_id", "user_id"), ("account_id", "Account"), ("bank", "bank")]
    assert dict(found.key_columns) == {"user_id": "user_id", "account_id": "Account", "bank": "bank"}
    assert found.write_time_column == "written"
    assert filled(found, [USER, ACCOUNT], DATASET)[0] == found, "filled in once more it is the same"


def test_what_is_pushed_names_its_types_and_needs_no_dataset() -> None:
    spec = spec_of({"name": "age", "type": "uint8"}, source="push")

    found, keys = filled(spec, [USER], SourceColumns("dataset 'features-u-v1'", {}, may_grow=True))

    assert [(each.type, each.column) for each in found.features] == [("uint8", "age")]
    assert [key.column for key in keys] == ["user_id"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (spec_of(offline_only=True, materialize_interval={"seconds": 60}), "spec.materialize_interval"),
        (spec_of(key_columns={"bank": "b"}), 'spec.key_columns["bank"]'),
        (spec_of("score", "SCORE"), "spec.features[1].name"),
        (spec_of({"name": "User_Id", "column": "score"}), "spec.features[0].name"),
        (spec_of({"name": "uid", "column": "score"}, key_columns={"user_id": "uid"}), "spec.features[0].name"),
        (spec_of({"name": "at"}), "spec.features[0].name"),
        (spec_of({"name": "written"}, write_time_column="written"), "spec.features[0].name"),
        (spec_of(event_time_column="Age"), "spec.event_time_column"),
        (spec_of(event_time_column="nope"), "spec.event_time_column"),
        (spec_of(write_time_column="Age"), "spec.write_time_column"),
        (spec_of(key_columns={"user_id": "written"}), 'spec.key_columns["user_id"]'),
        (spec_of(key_columns={"user_id": "nope"}), 'spec.key_columns["user_id"]'),
        (spec_of("nope"), "spec.features[0].column"),
        (spec_of("local"), "spec.features[0].type"),
        (spec_of("shape"), "spec.features[0].type"),
        (spec_of("empty"), "spec.features[0].type"),
        (spec_of({"name": "age", "type": "int32"}), "spec.features[0].type"),
        (spec_of({"name": "score", "type": "text"}), "spec.features[0].type"),
    ],
)
def test_what_a_dataset_does_not_have_is_refused(spec: pb.FeatureViewSpec, field: str) -> None:
    assert refused_field(spec, DATASET) == field


@pytest.mark.parametrize(
    ("spec", "left", "field"),
    [
        (spec_of("age", source="push"), {}, "spec.features[0].type"),
        (spec_of({"name": "age", "type": "int64", "column": "at"}, source="push"), {}, "spec.features[0].column"),
        (
            spec_of({"name": "a", "type": "int8", "column": "x"}, {"name": "b", "type": "int8", "column": "X"}, source="push"),
            {}, "spec.features[1].column",
        ),
        (spec_of({"name": "a", "type": "int8", "column": "\x1f"}, source="push"), {}, "spec.features[0].column"),
        (spec_of({"name": "a", "type": "int8"}, key_columns={"user_id": "at"}, source="push"), {}, 'spec.key_columns["user_id"]'),
        (spec_of({"name": "age", "type": "string"}, source="push"), {"age": "int64"}, "spec.features[0].type"),
        (spec_of({"name": "age", "type": "int8"}, source="push"), {"user_id": "string"}, 'spec.key_columns["user_id"]'),
        (spec_of({"name": "age", "type": "uint8"}, source="push"), {"age": "int64", "user_id": "int64", "at": "date32[day]"}, None),
    ],
)  # fmt: skip
def test_pushed_rows_are_one_thing_a_column_and_fit_what_is_there(
    spec: pb.FeatureViewSpec, left: dict[str, str], field: str | None
) -> None:
    assert refused_field(spec, SourceColumns("dataset 'features-u-v1'", left, may_grow=True)) == field


def test_two_entities_with_the_same_join_key_are_refused() -> None:
    with pytest.raises(InvalidFeatureView, match="USER_ID"):
        check_parts(spec_of(entities=["user", "member"]), [USER, entity("member", USER_ID="int64")])


def test_names_of_routes_are_refused_and_own_names_fit_where_they_go() -> None:
    with pytest.raises(InvalidFeatureView, match="historical"):
        check_view_name("historical")
    check_view_name("Historical")
    assert len(own_name("v" * 100, 10**15)) <= 127
