"""How the online store stands is kept beside definitions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from servers.features.definitions.records import OnlineState
from servers.runtime.work import LeaseLost
from sql_engine import write
from tests.integration.features.serving.served import NOW, ServedFeatures, served

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedFeatures]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgresql").new_database()
    with served(tmp_path_factory.mktemp("s"), database_url=url) as running:
        yield running


def end(features: ServedFeatures, view_id: str, generation: int | None, **more: Any) -> None:
    values = {"dataset_version": 3, "table_id": "t", "has_skipped_rows": True, "newest_event_time": NOW, "rows": 5, "now": NOW} | more
    write(features.engine, lambda c: features.states.end_materialization(c, view_id, generation=generation, **values))


def test_what_a_materialisation_did_is_kept_beside_what_pushes_did(stored: ServedFeatures) -> None:
    view = stored.view({"age": "int8"})
    assert stored.states.get(view.id) == OnlineState()
    stored.states.count_push(view.id, 2, NOW + HOUR)
    end(stored, view.id, None)
    stored.states.count_push(view.id, 1, None)
    assert stored.states.get(view.id) == OnlineState(
        dataset_version=3, table_id="t", has_skipped_rows=True, materialize_time=NOW, newest_event_time=NOW + HOUR, written_rows=8
    )


def test_each_full_materialisation_has_a_generation_that_nobody_had_before(stored: ServedFeatures) -> None:
    view = stored.view({"age": "int8"})
    first = stored.begin_building(view)
    second = stored.begin_building(view)
    assert (first, second) == (1, 2)
    with pytest.raises(LeaseLost):
        end(stored, view.id, first)
    write(stored.engine, lambda c: stored.states.stop_building(c, view.id, first))
    assert stored.states.get(view.id).building == second
    before = stored.revision.current(0)
    end(stored, view.id, second)
    state = stored.states.get(view.id)
    assert (state.generation, state.building) == (second, None)
    assert stored.revision.current(0) == before + 1
    third = stored.begin_building(view)
    write(stored.engine, lambda c: stored.states.stop_building(c, view.id, third))
    assert stored.states.get(view.id).building is None
    assert stored.begin_building(view) == 4


def test_what_is_due_comes_in_the_order_of_waiting(stored: ServedFeatures) -> None:
    views = [stored.view({"age": "int8"}) for _ in range(4)]
    for view, hours in zip(views, (2, 1, 3, None), strict=True):
        next_time = None if hours is None else NOW + hours * HOUR
        write(stored.engine, partial(stored.states.schedule, view_version_id=view.id, next_time=next_time))
    assert stored.states.due(NOW + 2 * HOUR, 10) == [views[1].id, views[0].id]
    assert stored.states.due(NOW + 2 * HOUR, 1) == [views[1].id]


def test_what_is_due_is_taken_by_one(stored: ServedFeatures) -> None:
    view, never = stored.view({"age": "int8"}), stored.view({"age": "int8"})
    write(stored.engine, partial(stored.states.schedule, view_version_id=view.id, next_time=NOW))

    def take(view_id: str, now: datetime) -> bool:
        return write(stored.engine, lambda c: stored.states.take_due(c, view_id, now, now + HOUR))

    assert [take(view.id, NOW), take(view.id, NOW), take(never.id, NOW), take(view.id, NOW + HOUR)] == [True, False, False, True]


def test_a_version_that_was_deleted_cannot_be_materialised(stored: ServedFeatures) -> None:
    view = stored.view({"age": "int8"})
    write(stored.engine, lambda c: stored.states.remove(c, [view.id]))
    with pytest.raises(LeaseLost):
        stored.begin_building(view)
    with pytest.raises(LeaseLost):
        end(stored, view.id, None)
