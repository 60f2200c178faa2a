"""Entities, views and services made, changed, found and deleted, on every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from mlops.features.v1 import feature_view_pb2 as pb
from mlops.processing.v1 import plan_pb2

from aip_filter import FilterError
from servers.features.definitions.changes import definition_etag
from servers.features.definitions.resolving import resolved
from servers.features.definitions.views import ViewRequest
from servers.features.errors import (
    DefinitionChanged,
    EntityExists,
    EntityInUse,
    EntityNotFound,
    InvalidEntity,
    NotAllowed,
    ServiceNotFound,
    ViewExists,
    ViewInUse,
    ViewNotFound,
    ViewRuns,
    ViewVersionGone,
    ViewVersionNotFound,
)
from servers.features.online import JoinKey, JoinKeyType
from servers.runtime.auth import Principal
from servers.runtime.errors import Aborted, DomainError
from servers.runtime.paging import Listing
from tests.integration.features.definitions.stored import Stored


def names(found: tuple[list[Any], str]) -> list[str]:
    return [each.name for each in found[0]]


def selection(view: str, **more: Any) -> pb.FeatureSelection:
    return pb.FeatureSelection(view=view, **more)


def test_an_entity_is_made_changed_found_and_deleted(stored: Stored) -> None:
    stored.entity(labels={"team": "a"}, description="who flies")
    with pytest.raises(EntityExists):
        stored.entity()
    made = stored.entities.get(stored.project, "carrier")
    assert made.join_keys == (JoinKey("carrier", JoinKeyType.STRING),)

    changed = stored.entities.update(stored.project, "carrier", {"labels": {"team": "b"}}, etag=definition_etag(made))
    assert (changed.labels, changed.description) == ({"team": "b"}, "who flies")
    assert changed.update_time > made.update_time
    with pytest.raises(Aborted):
        stored.entities.update(stored.project, "carrier", {"description": ""}, etag=definition_etag(made))
    with pytest.raises(InvalidEntity, match="never change"):
        stored.entities.update(stored.project, "carrier", {"join_keys": ()}, etag="")

    assert names(stored.entities.page(stored.project, Listing(filter='labels.team = "b"'))) == ["carrier"]
    assert names(stored.entities.page(stored.project, Listing(filter='labels.team = "a"'))) == []
    stored.entities.delete(stored.project, "carrier", etag="")
    with pytest.raises(EntityNotFound):
        stored.entities.get(stored.project, "carrier")


def test_a_change_of_the_specification_is_a_version_and_others_are_none(stored: Stored) -> None:
    stored.entity()
    made = stored.view("delays", "delay", texts={"description": "how late"})
    assert (made.shown.version, made.shown.dataset, made.shown.pipeline) == (1, "flights", "")
    assert [(each.name, each.type) for each in made.shown.spec.features] == [("delay", "float64")]

    same = stored.update("delays", spec=stored.spec("delay"), display_name="Delays")
    assert (same.newest_version, same.display_name) == (1, "Delays")
    assert stored.update("delays", spec=stored.spec("delay", "seats"), is_kept=False).newest_version == 2
    assert stored.views.get(stored.project, "delays").newest_version == 1
    changed = stored.update("delays", spec=stored.spec("delay", "seats"))
    assert (changed.newest_version, changed.description) == (2, "how late")
    assert stored.views.get(stored.project, "delays", 1).shown == made.shown
    with pytest.raises(Aborted):
        stored.update("delays", etag=definition_etag(made), description="x")
    with pytest.raises(ViewVersionNotFound, match="newest is 2"):
        stored.views.get(stored.project, "delays", 3)

    versions, token = stored.views.versions(stored.project, "delays", Listing(page_size=1))
    assert [each.version for each in versions] == [2]
    assert [each.version for each in stored.views.versions(stored.project, "delays", Listing(page_size=1, page_token=token))[0]] == [1]
    assert stored.definitions.view_version(stored.project, "delays", 1) == made.shown
    assert stored.definitions.view_version_by_id(changed.shown.id) == changed.shown
    assert set(stored.online.of([made.shown.id, changed.shown.id])) == {made.shown.id, changed.shown.id}


def test_views_are_found_by_what_they_have(stored: Stored) -> None:
    stored.entity()
    stored.entity("airline")
    stored.view("delays", "delay", texts={"description": "Verspätung: 100% of it", "labels": {"team": "a"}})
    stored.view("seats_of", "seats", texts={"description": "100 of it"})
    stored.view("by_airline", "delay", entities=["airline"], source="push", features=[pb.Feature(name="load_factor", type="float32")])
    stored.update("seats_of", spec=stored.spec("delay", "seats"))

    def found(query: str = "", **more: Any) -> list[str]:
        return names(stored.views.page(stored.project, query, Listing(**more)))

    assert found(filter='feature = "delay"') == ["delays", "seats_of"], "of the newest version"
    assert found(filter='feature != "delay"') == ["by_airline"]
    assert found(filter='feature = "load*" OR feature = "seats"') == ["by_airline", "seats_of"]
    assert found(filter='feature:"ela" AND entity = "carrier" AND dataset = "flights"') == ["delays", "seats_of"]
    assert found(filter='NOT entity = "carrier"') == ["by_airline"]
    assert found(filter='dataset = "features-by_airline-v1" AND create_time > "2026-01-01T00:00:00Z"') == ["by_airline"]
    assert found("LOAD_") == ["by_airline"]
    assert found("load.") == []
    assert found("VERSPÄTUNG") == ["delays"]
    assert found("100%") == ["delays"], "not a wildcard"
    assert found("s_o", filter='labels.team = "a"') == []
    assert found(order_by="create_time desc") == ["by_airline", "seats_of", "delays"]
    with pytest.raises(FilterError, match="entity, feature"):
        found(filter='features = "delay"')

    page, token = stored.views.page(stored.project, "delay", Listing(page_size=1))
    assert [each.name for each in page] == ["delays"]
    assert names(stored.views.page(stored.project, "delay", Listing(page_size=1, page_token=token))) == ["seats_of"]


def test_what_somebody_uses_is_not_deleted(stored: Stored) -> None:
    stored.entity()
    stored.view("delays")
    stored.service("late", selection("delays"))
    stored.update("delays", spec=stored.spec("seats"))

    with pytest.raises(EntityInUse, match="'delays'"):
        stored.entities.delete(stored.project, "carrier", etag="")
    with pytest.raises(ViewInUse, match="'late'"):
        stored.views.delete(stored.project, "delays", etag="")
    assert stored.views.get(stored.project, "delays").newest_version == 2
    uses = stored.definitions.service_uses(stored.views.get(stored.project, "delays").id, 10)
    assert [tuple(each) for each in uses] == [("late", 1, 1)]

    stored.services.delete(stored.project, "late", etag="")
    gone = stored.views.get(stored.project, "delays")
    stored.views.delete(stored.project, "delays", etag=definition_etag(gone))
    stored.entities.delete(stored.project, "carrier", etag="")
    assert len(stored.dropped) == 2
    assert stored.online.of([gone.shown.id]) == {}
    with pytest.raises(ViewNotFound):
        stored.definitions.view_version(stored.project, "delays")
    with pytest.raises(ViewVersionGone):
        stored.definitions.view_version_by_id(gone.shown.id)


def test_a_service_stays_with_the_versions_it_was_made_with(stored: Stored) -> None:
    stored.entity()
    stored.view("delays")
    made = stored.service("late", selection("delays"))
    stored.update("delays", spec=stored.spec("delay", "seats"))

    wanted = resolved(stored.definitions, stored.project, "late", 0, [])
    assert (wanted.selections[0].view.version, wanted.selections[0].features) == (1, ("delay",))
    assert stored.services.update(stored.project, "late", {"spec": made.shown.spec}, _caller(), etag="").newest_version == 1
    newest = {"spec": pb.FeatureServiceSpec(selections=[selection("delays")])}
    changed = stored.services.update(stored.project, "late", newest, _caller(), etag=definition_etag(made))
    assert (changed.newest_version, changed.shown.spec.selections[0].version) == (2, 2)
    assert stored.services.get(stored.project, "late", 1).shown == made.shown
    assert stored.definitions.service_version(stored.project, "late", 1) == made.shown

    assert names(stored.services.page(stored.project, Listing(filter='view = "delays"'))) == ["late"]
    assert names(stored.services.page(stored.project, Listing(filter='view != "delays"'))) == []
    assert [each.version for each in stored.services.versions(stored.project, "late", Listing())[0]] == [2, 1]
    stored.services.delete(stored.project, "late", etag="")
    with pytest.raises(ServiceNotFound):
        stored.definitions.service_version(stored.project, "late")


def test_an_expression_that_cannot_be_computed_makes_no_service(stored: Stored) -> None:
    stored.entity()
    stored.view("delays")
    stored.refused.append("delay / nothing")

    with pytest.raises(DomainError, match="NO_EXPRESSION"):
        stored.service("late", selection("delays"), on_demand_features=[
            pb.OnDemandFeature(name="worse", expression="delay / nothing", type="float64")
        ])  # fmt: skip
    assert names(stored.services.page(stored.project, Listing())) == []


def test_a_computed_view_has_a_pipeline_as_long_as_it_is_there(stored: Stored) -> None:
    stored.entity()
    assert stored.view("delays", source="computed", is_kept=False).shown.pipeline.startswith("features-delays-v1-")
    assert stored.pipelines.there == {}

    made = stored.view("delays", source="computed", materialize_interval={"seconds": 60})
    assert made.shown.dataset == "features-delays-v1"
    assert set(stored.pipelines.there) == {made.shown.pipeline}
    assert stored.online.get(made.shown.id).next_materialize_time == made.create_time
    changed = stored.update("delays", spec=stored.spec("seats", source="computed"))
    assert set(stored.pipelines.there) == {made.shown.pipeline, changed.shown.pipeline}

    stored.pipelines.running.add(changed.shown.pipeline)
    with pytest.raises(ViewRuns, match="job j"):
        stored.views.delete(stored.project, "delays", etag="")
    with pytest.raises(ViewNotFound):
        stored.views.get(stored.project, "delays")
    assert stored.online.get(made.shown.id).next_materialize_time is None
    stored.pipelines.running.clear()
    stored.views.delete(stored.project, "delays", etag="")
    assert stored.pipelines.there == {}
    with pytest.raises(ViewNotFound):
        stored.views.delete(stored.project, "delays", etag="")


def test_a_view_that_was_half_deleted_makes_way_for_the_next_of_its_name(stored: Stored) -> None:
    stored.entity()
    old = stored.view("delays", source="computed")
    stored.pipelines.running.add(old.shown.pipeline)
    with pytest.raises(ViewRuns):
        stored.views.delete(stored.project, "delays", etag="")
    stored.pipelines.running.clear()

    new = stored.view("delays")

    assert new.id != old.id
    assert stored.pipelines.there == {}
    assert set(stored.dropped) == {old.shown.online_name(0)}
    assert new.shown.online_name(0) != old.shown.online_name(0), "what is still written for the old one is not found"


def test_a_view_that_could_not_be_kept_leaves_no_pipeline(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    stored.entity()

    def fail(*_: Any) -> None:
        raise DefinitionChanged("the entity")

    monkeypatch.setattr(stored.online, "add", fail)
    with pytest.raises(DefinitionChanged):
        stored.view("delays", source="computed")
    assert stored.pipelines.there == {}


def test_the_dataset_of_a_deleted_view_is_taken_over_where_it_fits(stored: Stored) -> None:
    stored.entity()
    stored.datasets.there["features-pushed-v1"] = {"carrier": "string", "at": "timestamp[us]", "load": "double"}
    pushed: dict[str, Any] = {"source": "push", "features": [pb.Feature(name="load", type="float32")]}
    assert stored.view("pushed", **pushed).shown.dataset == "features-pushed-v1"
    stored.views.delete(stored.project, "pushed", etag="")
    with pytest.raises(DomainError, match="does not hold string"):
        stored.view("pushed", source="push", features=[pb.Feature(name="load", type="string")])


@pytest.mark.parametrize(
    ("granted", "source", "missing"),
    [
        ("features.definitions.write", "dataset", "ingestion.data.read"),
        ("ingestion.data.read", "push", "ingestion.data.write"),
        ("ingestion.data.*", "computed", "processing.pipelines.write"),
        ("ingestion.data.*,processing.pipelines.*", "computed", "processing.jobs.run"),
        ("ingestion.data.*,processing.pipelines.*,processing.jobs.*", "python", "processing.functions.run"),
        ("ingestion.data.*,processing.pipelines.*,processing.jobs.*", "computed", None),
    ],
)
def test_a_view_does_nothing_for_its_maker_that_she_may_not_do(stored: Stored, granted: str, source: str, missing: str | None) -> None:
    stored.entity()
    caller = Principal("eve", "eve", "user", {stored.project: frozenset(granted.split(","))})
    spec = stored.spec(source="computed" if source == "python" else source)
    if source == "python":
        step = plan_pb2.Step(name="p", python_function=plan_pb2.PythonFunction())
        spec.computed.plan.CopyFrom(plan_pb2.Plan(steps=[step], outputs=["p"]))
    if source == "push":
        spec.features[0].type = "float64"
    wanted = ViewRequest(stored.project, "delays", spec)

    if missing is None:
        stored.views.create(wanted, caller, lambda: None)
        return
    with pytest.raises(NotAllowed) as error:
        stored.views.create(wanted, caller, lambda: None)
    assert error.value.metadata["permission"] == missing


def test_every_write_changes_the_revision_and_is_noticed_at_once(stored: Stored) -> None:
    seen = [stored.revision.current(3600)]

    def is_noticed() -> bool:
        seen.append(stored.revision.current(3600))
        return seen[-1] > seen[-2]

    stored.entity()
    assert is_noticed()
    stored.view("delays")
    assert is_noticed()
    stored.service("late", selection("delays"))
    assert is_noticed()
    stored.update("delays", description="x")
    assert is_noticed()
    assert not is_noticed(), "nobody wrote"
    stored.services.delete(stored.project, "late", etag="")
    assert is_noticed()
    stored.views.delete(stored.project, "delays", etag="")
    assert is_noticed()


def test_of_those_who_make_the_same_at_once_one_wins(stored: Stored) -> None:
    stored.entity()

    def make(_: int) -> str:
        try:
            stored.view("delays", source="computed")
        except DomainError as error:
            return error.reason
        return "made"

    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(make, range(6)))
    assert sorted(outcomes) == ["FEATURE_VIEW_EXISTS"] * 5 + ["made"]
    assert set(stored.pipelines.there) == {stored.views.get(stored.project, "delays").shown.pipeline}, (
        "the one that won still has its pipeline"
    )

    def change(number: int) -> str:
        try:
            stored.update("delays", spec=stored.spec("delay", "seats", max_age={"seconds": number + 1}, source="computed"))
        except DomainError as error:
            return error.reason
        return "changed"

    with ThreadPoolExecutor(6) as threads:
        outcomes = list(threads.map(change, range(6)))
    kept = stored.views.versions(stored.project, "delays", Listing(order_by="version"))[0]
    assert [each.version for each in kept] == list(range(1, outcomes.count("changed") + 2))
    assert set(outcomes) <= {"changed", "FEATURE_DEFINITION_CHANGED"}
    assert set(stored.pipelines.there) == {each.pipeline for each in kept}


def test_a_view_and_a_service_of_it_are_never_half_there(stored: Stored) -> None:
    stored.entity()
    for round_ in range(5):
        stored.view("delays")

        def serve(number: int = round_) -> str:
            try:
                stored.service(f"late-{number}", selection("delays"))
            except (ViewNotFound, DefinitionChanged):
                return "refused"
            return "made"

        def delete() -> str:
            try:
                stored.views.delete(stored.project, "delays", etag="")
            except ViewInUse:
                return "in use"
            return "deleted"

        with ThreadPoolExecutor(2) as threads:
            outcomes = [each.result() for each in (threads.submit(serve), threads.submit(delete))]
        assert outcomes in (["made", "in use"], ["refused", "deleted"])
        if outcomes[0] == "made":
            assert resolved(stored.definitions, stored.project, f"late-{round_}", 0, []).selections
            stored.services.delete(stored.project, f"late-{round_}", etag="")
            stored.views.delete(stored.project, "delays", etag="")


def test_a_view_that_is_there_is_not_made_again(stored: Stored) -> None:
    stored.entity()
    stored.view("delays")
    with pytest.raises(ViewExists, match="UpdateFeatureView"):
        stored.view("delays")


def _caller() -> Principal:
    return Principal("ada", "ada", "user", {"*": frozenset({"*"})})
