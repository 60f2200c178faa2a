"""A feature repository of Feast as definitions of the mesh.

`feast_registry.json` is what `feast registry-dump` of Feast 0.67 printed of a repository made for this, without times and pickled code.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from mlmesh.errors import InvalidArgument, NotFound
from mlmesh.feast_import import FeastDefinitions, feast_definitions, is_same_view, read_dump
from mlmesh.feature_views import Entity, FeatureService, FeatureView
from mlmesh.sync.feast_imports import import_feast
from mlops.features.v1 import feature_view_pb2 as pb

DUMP = Path(__file__).with_name("feast_registry.json")
NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.fixture(scope="module")
def dump() -> dict[str, Any]:
    return dict(read_dump(DUMP))


@pytest.fixture(scope="module")
def definitions(dump: dict[str, Any]) -> FeastDefinitions:
    return feast_definitions(dump)


def view(definitions: FeastDefinitions, name: str) -> dict[str, Any]:
    found = next(each for each in definitions.views if each.name == name)
    return json_format.MessageToDict(found.spec, preserving_proto_field_name=True)


def test_entities_have_their_key_and_its_type(definitions: FeastDefinitions) -> None:
    assert [(each.name, each.join_keys) for each in definitions.entities] == [
        ("customer", {"customer_id": "int64"}),
        ("shop", {"shop_code": "string"}),
    ]
    customer = definitions.entities[0]
    assert (customer.description, customer.labels) == ("Who buys.", {"team": "shop", "owner": "me@example.org"})


def test_a_view_of_a_table_reads_the_columns_that_feast_renamed(definitions: FeastDefinitions) -> None:
    assert view(definitions, "spending") == {
        "entities": ["customer"],
        "dataset": {"dataset": "spending_rows"},
        "event_time_column": "happened",
        "write_time_column": "written",
        "features": [
            {"name": "amount", "column": "amt", "description": "In euros."},
            {"name": "tags"},
            {"name": "vip"},
            {"name": "last"},
            {"name": "n"},
        ],
        "max_age": "172800s",
    }


def test_a_push_source_makes_a_view_that_is_pushed_to_and_says_which(definitions: FeastDefinitions) -> None:
    visits = next(each for each in definitions.views if each.name == "visits")

    assert view(definitions, "visits") == {
        "entities": ["customer", "shop"],
        "push": {},
        "event_time_column": "at",
        "features": [{"name": "count", "type": "int64"}],
        "offline_only": True,
    }
    assert visits.labels == {"feast_push_source": "visit_push"}
    assert visits.note == "without map (MAP), since no feature has that type"


def test_a_stream_is_pushed_to_without_the_keys_among_its_features(definitions: FeastDefinitions) -> None:
    clicks = next(each for each in definitions.views if each.name == "clicks")

    assert view(definitions, "clicks") == {
        "entities": ["customer"],
        "push": {},
        "event_time_column": "ts",
        "features": [{"name": "c", "type": "int64"}],
        "max_age": "3600s",
    }
    assert "Python code" in clicks.note


def test_a_source_is_the_dataset_that_is_named_for_it(dump: dict[str, Any]) -> None:
    found = feast_definitions(dump, datasets={"spending_rows": "sales", "visit_rows": "visits"}, write_times=False)

    assert view(found, "spending")["dataset"] == {"dataset": "sales"}
    assert view(found, "visits")["dataset"] == {"dataset": "visits"}
    assert "write_time_column" not in view(found, "spending")


def test_aliases_and_names_that_several_views_have_become_prefixes(definitions: FeastDefinitions) -> None:
    services = {
        each.name: json_format.MessageToDict(each.spec, preserving_proto_field_name=True)["selections"] for each in definitions.services
    }

    assert services == {
        "both": [
            {"view": "spending", "features": ["amount", "vip"], "prefix": "spending__"},
            {"view": "prices", "features": ["amount"], "prefix": "prices__"},
        ],
        "friends": [
            {
                "view": "spending",
                "features": ["amount"],
                "prefix": "friend_spending__",
                "join_key_names": {"customer_id": "friend_id"},
            },
            {"view": "spending", "features": ["amount", "tags", "vip", "last", "n"], "prefix": "spending__"},
        ],
    }


def test_what_cannot_be_expressed_says_why(definitions: FeastDefinitions) -> None:
    reasons = {item.name: item.note for item in definitions.refused}

    assert reasons.keys() == {"ratios", "weather", "checkout"}
    assert "Python code" in reasons["ratios"]
    assert "no entity" in reasons["weather"]
    assert reasons["checkout"].endswith("visits:map, ratios:ratio")


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", "no dump"])
def test_what_is_no_dump_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "dump.json").write_text(text)
    with pytest.raises(InvalidArgument, match="feast registry-dump"):
        read_dump(tmp_path / "dump.json")


class Store:
    """Keeps what is made, and fills it in as the server does."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str], Any] = {}
        self.missing_datasets: set[str] = set()

    def create_entity(self, name: str, join_keys: dict[str, str], **more: Any) -> None:
        self.made["entity", name] = Entity(name, "default", join_keys, "", more["description"], more["labels"], "me", NOW, NOW, "1")

    def create_feature_view(self, name: str, spec: pb.FeatureViewSpec, **more: Any) -> None:
        if spec.dataset.dataset in self.missing_datasets:
            raise NotFound(f"there is no dataset {spec.dataset.dataset!r}")
        filled = pb.FeatureViewSpec()
        filled.CopyFrom(spec)
        for feature in filled.features:
            feature.type, feature.column = feature.type or "float64", (feature.column or feature.name).upper()
        for entity in filled.entities:
            key = next(iter(self.made["entity", entity].join_keys))
            filled.key_columns[key] = filled.key_columns.get(key, key)
        if filled.HasField("push"):
            filled.write_time_column = filled.write_time_column or "write_time"
        json_spec = json_format.MessageToDict(filled, preserving_proto_field_name=True)
        self.made["view", name] = FeatureView(
            name, "default", "", more["description"], more["labels"], json_spec, 1, "d", "", None, "me", NOW, NOW, "1"
        )

    def create_feature_service(self, name: str, spec: pb.FeatureServiceSpec, **more: Any) -> None:
        filled = pb.FeatureServiceSpec()
        filled.CopyFrom(spec)
        for selection in filled.selections:
            if ("view", selection.view) not in self.made:
                raise NotFound(f"there is no feature view {selection.view!r}")
            selection.version = 1
        json_spec = json_format.MessageToDict(filled, preserving_proto_field_name=True)
        self.made["service", name] = FeatureService(
            name, "default", "", more["description"], more["labels"], json_spec, 1, "me", NOW, NOW, "1"
        )

    def get_entity(self, name: str, **_: Any) -> Any:
        return self._get("entity", name)

    def get_feature_view(self, name: str, **_: Any) -> Any:
        return self._get("view", name)

    def get_feature_service(self, name: str, **_: Any) -> Any:
        return self._get("service", name)

    def _get(self, kind: str, name: str) -> Any:
        if (kind, name) not in self.made:
            raise NotFound(f"there is no {kind} {name!r}")
        return self.made[kind, name]


def imported(store: Store, **options: Any) -> dict[str, set[str]]:
    done = import_feast(store, DUMP, **options)  # type: ignore[arg-type]
    return {name: {item.name for item in getattr(done, name)} for name in ("made", "unchanged", "not_imported")}


ALL = {"customer", "shop", "spending", "visits", "clicks", "prices", "both", "friends"}
NEVER = {"ratios", "weather", "checkout"}


def test_what_is_there_already_is_left_alone() -> None:
    store = Store()

    assert imported(store) == {"made": ALL, "unchanged": set(), "not_imported": NEVER}
    before = dict(store.made)
    assert imported(store) == {"made": set(), "unchanged": ALL, "not_imported": NEVER}
    assert store.made == before


def test_a_dry_run_makes_nothing() -> None:
    store = Store()

    assert imported(store, dry_run=True)["made"] == ALL
    assert store.made == {}


def test_what_the_mesh_refuses_is_reported_and_the_rest_is_made() -> None:
    store = Store()
    store.missing_datasets = {"price_rows"}

    assert imported(store) == {"made": ALL - {"prices", "both"}, "unchanged": set(), "not_imported": NEVER | {"prices", "both"}}


def test_another_definition_of_the_same_name_is_not_touched() -> None:
    store = Store()
    imported(store)

    assert imported(store, write_times=False)["not_imported"] == NEVER | {"spending"}
    store.create_entity("customer", {"customer_id": "string"}, description="", labels={})
    assert "customer" in imported(store)["not_imported"]


def test_what_feast_does_not_say_of_a_view_may_be_anything(definitions: FeastDefinitions) -> None:
    store = Store()
    imported(store)
    there, wanted = store.made["view", "spending"], next(each.spec for each in definitions.views if each.name == "spending")

    there.spec["materialize_interval"] = "60s"
    assert is_same_view(there, wanted)
    there.spec["max_age"] = "60s"
    assert not is_same_view(there, wanted)


def test_a_dump_may_be_given_as_it_was_parsed() -> None:
    done = import_feast(Store(), json.loads(DUMP.read_text()))  # type: ignore[arg-type]

    assert len(done.made) == len(ALL)
