"""Services and selections, resolved."""

from __future__ import annotations

from typing import Any

import pytest
from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.definitions.records import ServiceVersion
from servers.features.definitions.resolving import resolved, result_names
from servers.features.definitions.service_specs import filled_service
from servers.features.errors import InvalidDefinition, InvalidFeatureSelection
from tests.unit.features.definitions.defined import NOW, Known, view_version

USERS = view_version("users", ["age", "score"])
NEWER = view_version("users", ["age", "score", "rank"], 2)
CARDS = view_version("cards", ["Age", "limit"], user_id="string", card="string")
KNOWN = Known([USERS, NEWER, CARDS])


def test_a_selection_means_the_newest_version_and_all_of_its_features() -> None:
    wanted = resolved(KNOWN, "default", "", 0, [pb.FeatureSelection(view="users")])

    assert [each.view for each in wanted.selections] == [NEWER]
    assert list(result_names(wanted)) == ["age", "score", "rank"]
    assert wanted.service is None


def test_a_view_may_be_selected_twice_under_other_names() -> None:
    sender = pb.FeatureSelection(view="users", version=1, prefix="sender_", join_key_names={"user_id": "sender_id"})
    receiver = pb.FeatureSelection(view="users", version=1, prefix="receiver_", features=["age"], join_key_names={"user_id": "receiver_id"})

    wanted = resolved(KNOWN, "default", "", 0, [sender, receiver])

    assert list(result_names(wanted)) == ["sender_age", "sender_score", "receiver_age"]
    assert [each.given_name("user_id") for each in wanted.selections] == ["sender_id", "receiver_id"]


def test_a_service_says_what_is_wanted() -> None:
    spec = pb.FeatureServiceSpec(
        selections=[pb.FeatureSelection(view="users", version=1, features=["score"])],
        request_inputs=[pb.RequestInput(name="amount", type="float64")],
        on_demand_features=[pb.OnDemandFeature(name="ratio", expression="amount / score", type="float64")],
    )
    service = ServiceVersion("s-1", "s", "default", "fraud", 1, spec, "ada", NOW)

    wanted = resolved(Known([USERS], [service]), "default", "fraud", 0, [])

    assert wanted.service is service
    assert wanted.selections[0].features == ("score",)
    assert [each.name for each in wanted.request_inputs] + [each.name for each in wanted.on_demand] == ["amount", "ratio"]


@pytest.mark.parametrize(
    ("service", "version", "selections", "field"),
    [
        ("", 0, [], "feature_service"),
        ("fraud", 0, [{"view": "users"}], "selections"),
        ("", 2, [{"view": "users"}], "feature_service_version"),
        ("", 0, [{"view": "users", "features": ["age", "nope"]}], "selections[0].features[1]"),
        ("", 0, [{"view": "users", "join_key_names": {"card": "c"}}], 'selections[0].join_key_names["card"]'),
        ("", 0, [{"view": "users", "join_key_names": {"user_id": ""}}], 'selections[0].join_key_names["user_id"]'),
        ("", 0, [{"view": "users"}, {"view": "cards", "join_key_names": {"user_id": "card"}, "prefix": "c_"}], None),
        ("", 0, [{"view": "users"}, {"view": "cards", "prefix": "c_"}], "selections[1]"),
        ("", 0, [{"view": "users"}, {"view": "cards", "join_key_names": {"user_id": "text_id"}}], "selections[1]"),
        ("", 0, [{"view": "users", "version": 1}, {"view": "users", "version": 1}], "selections[1]"),
    ],
)
def test_what_does_not_fit_together_is_refused(service: str, version: int, selections: list[dict[str, Any]], field: str | None) -> None:
    given = [pb.FeatureSelection(**each) for each in selections]
    if field is None:
        resolved(KNOWN, "default", service, version, given)
        return
    with pytest.raises(InvalidFeatureSelection) as error:
        resolved(KNOWN, "default", service, version, given)
    assert error.value.metadata == {"field": field}


def test_a_service_keeps_the_versions_and_features_that_it_was_made_with() -> None:
    given = pb.FeatureServiceSpec(
        selections=[pb.FeatureSelection(view="users")],
        on_demand_features=[pb.OnDemandFeature(name="d", expression="age", type="decimal(10,2)")],
    )

    found, wanted = filled_service(KNOWN, "default", given)

    assert (found.selections[0].version, list(found.selections[0].features)) == (2, ["age", "score", "rank"])
    assert found.on_demand_features[0].type == wanted.on_demand[0].type == "decimal(10, 2)"
    assert given.selections[0].version == 0, "what was given stays as it is"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"request_inputs": [{"name": "AGE", "type": "int64"}]}, "spec.request_inputs[0].name"),
        ({"request_inputs": [{"name": "x", "type": "int64"}, {"name": "X", "type": "int64"}]}, "spec.request_inputs[1].name"),
        ({"on_demand_features": [{"name": "Score", "expression": "1", "type": "int64"}]}, "spec.on_demand_features[0].name"),
        ({"on_demand_features": [{"name": "d", "expression": "1", "type": "text"}]}, "spec.on_demand_features[0].type"),
    ],
)
def test_names_that_an_expression_could_not_tell_apart_are_refused(more: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidDefinition) as error:
        filled_service(KNOWN, "default", pb.FeatureServiceSpec(selections=[pb.FeatureSelection(view="users")], **more))
    assert error.value.metadata == {"field": field}
