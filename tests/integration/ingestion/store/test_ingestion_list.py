from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from aip_filter import FilterError, OrderByError, PageTokenError
from servers.ingestion.records import Ingestion
from servers.ingestion.store import Ingestions
from servers.runtime.paging import Listing
from servers.runtime.work import TaskTable
from servers.runtime.work.job_state import JobState
from sql_engine import begin_write
from tests.integration.ingestion.store.conftest import OpenedStores
from tests.integration.ingestion.store.lives import Lives, statements
from tests.integration.runtime.work.conftest import Clock

COUNT = 29
START = Clock().now
LATER = START + timedelta(seconds=200)

Meets = Callable[[Ingestion], bool]
FILTERS: list[tuple[str, Meets]] = [
    ("", lambda _: True),
    ('dataset = "a"', lambda one: one.dataset == "a"),
    ('dataset : "a" AND NOT mode = UPSERT', lambda one: "a" in one.dataset and one.mode != "UPSERT"),
    ('creator = "ad*" OR dataset > "b"', lambda one: one.creator.startswith("ad") or one.dataset > "b"),
    *((f'state = "{state}"', lambda one, state=state: one.state is state) for state in JobState),
    ("state != FAILED", lambda one: one.state is not JobState.FAILED),
    ("state = RUNNING OR state = succeeded", lambda one: one.state in (JobState.RUNNING, JobState.SUCCEEDED)),
    ("end_time:*", lambda one: one.end_time is not None),
    (f'end_time >= "{LATER.isoformat()}"', lambda one: one.end_time is not None and one.end_time >= LATER),
    (f'NOT end_time >= "{LATER.isoformat()}"', lambda one: one.end_time is None or one.end_time < LATER),
    (
        f'create_time > "{START.isoformat()}" AND create_time <= "{(START + timedelta(seconds=4)).isoformat()}"',
        lambda one: START < one.create_time <= START + timedelta(seconds=4),
    ),
    ('dataset = "none"', lambda _: False),
]
ORDERS: dict[str, list[tuple[str, bool]]] = {
    "": [("create_time", True), ("id", True)],
    "create_time": [("create_time", False), ("id", False)],
    "dataset": [("dataset", False), ("id", False)],
    "dataset desc": [("dataset", True), ("id", True)],
    "dataset, create_time desc": [("dataset", False), ("create_time", True), ("id", True)],
    "create_time desc, dataset": [("create_time", True), ("dataset", False), ("id", False)],
}


@dataclass(frozen=True)
class Filled:
    """A store with a project `default` whose ingestions are known, and one more project."""

    engine: Engine
    ingestions: Ingestions
    known: list[Ingestion]


def filled(engine: Engine) -> Filled:
    clock = Clock()
    ingestions = Ingestions(engine)
    lives = Lives(engine, ingestions, TaskTable(engine, clock=clock, on_end=ingestions.end), clock)
    known = []
    for number in range(COUNT):
        name, state = f"{number * 7 % COUNT:02}", list(JobState)[number % 6]
        # Several have the same time, and datasets differ by case only.
        asked: dict[str, Any] = {
            "dataset": ("a", "A", "ab", "b", "ä")[number % 5],
            "mode": ("APPEND", "OVERWRITE", "UPSERT")[number % 3],
            "creator": ("ada", "adam", "bob")[number % 3],
            "create_time": START + timedelta(seconds=number // 4),
        }
        clock.now = START + timedelta(seconds=10 * number + 10)
        lives.begin(name, **asked)
        lives.bring(name, state)
        end_time = clock.now if state.is_final else None
        known.append(Ingestion(id=name, project="default", source="", state=state, end_time=end_time, **asked))
    with begin_write(engine) as connection:
        lost = lives.new("lost", create_time=START)
        ingestions.add(connection, lost, None)
    known.append(Ingestion("lost", "default", lost.dataset, "", lost.mode, JobState.FAILED, lost.creator, START))
    lives.begin("elsewhere", project="another")
    return Filled(engine, ingestions, known)


@pytest.fixture(scope="module")
def store(migrated: Engine) -> Filled:
    return filled(migrated)


@pytest.fixture(scope="module")
def on_sqlite(opened_store: OpenedStores) -> Iterator[Filled]:
    with opened_store("sqlite") as engine:
        yield filled(engine)


def walk(ingestions: Ingestions, listing: Listing) -> list[Ingestion]:
    found: list[Ingestion] = []
    while True:
        page, token = ingestions.page("default", listing)
        assert len(page) == listing.page_size or not token
        found += page
        if not token:
            return found
        listing = replace(listing, page_token=token)


def in_order(known: list[Ingestion], order: list[tuple[str, bool]]) -> list[str]:
    ordered = known
    for field, descends in reversed(order):
        ordered = sorted(ordered, key=lambda one: getattr(one, field), reverse=descends)
    return [one.id for one in ordered]


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize(("filter", "meets"), FILTERS, ids=[written or "all" for written, _ in FILTERS])
def test_pages_are_what_the_filter_selects_in_order(store: Filled, filter: str, meets: Meets, order_by: str) -> None:
    expected = in_order([one for one in store.known if meets(one)], ORDERS[order_by])

    for page_size in (4, len(expected) or 1, 1000):
        found = walk(store.ingestions, Listing(page_size, filter=filter, order_by=order_by))
        assert [one.id for one in found] == expected


def test_an_item_of_a_page_is_what_a_look_gives(store: Filled) -> None:
    found = walk(store.ingestions, Listing(7))

    assert len(found) == COUNT + 1
    assert found == [store.ingestions.get("default", one.id) for one in found]


def test_a_page_is_one_statement(store: Filled) -> None:
    with statements(store.engine) as seen:
        page, _ = store.ingestions.page("default", Listing(20, filter="NOT state = FAILED"))

    assert (len(page), len(seen)) == (20, 1)


def test_a_page_token_is_good_for_its_own_query_only(store: Filled) -> None:
    listing = Listing(2, filter='dataset : "a"', order_by="dataset")
    _, token = store.ingestions.page("default", listing)
    _, others = store.ingestions.page("default", Listing(2))

    for project, wrong in (
        ("default", Listing(2, token, filter='dataset : "b"', order_by="dataset")),
        ("default", Listing(2, token, filter='dataset : "a"', order_by="dataset desc")),
        ("another", replace(listing, page_token=token)),
        ("default", replace(listing, page_token=others)),
        ("default", replace(listing, page_token=token[:-2])),
    ):
        with pytest.raises(PageTokenError):
            store.ingestions.page(project, wrong)
    assert len(store.ingestions.page("default", replace(listing, page_size=3, page_token=token))[0]) == 3


@pytest.mark.parametrize(
    ("listing", "error", "named"),
    [
        (Listing(filter='request = "x"'), FilterError, "create_time, creator, dataset, end_time, mode, state"),
        (Listing(filter="state = DONE"), FilterError, "QUEUED, RUNNING, CANCELLING, SUCCEEDED, FAILED, CANCELLED"),
        (Listing(filter="mode = MERGE"), FilterError, "APPEND, OVERWRITE, UPSERT"),
        (Listing(order_by="end_time"), OrderByError, "create_time, dataset"),
    ],
)
def test_wrong_queries_say_what_is_right(store: Filled, listing: Listing, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        store.ingestions.page("default", listing)


def test_one_that_is_added_meanwhile_moves_no_other(lives: Lives) -> None:
    for number in range(4):
        lives.begin(str(number), create_time=START + timedelta(seconds=number))
    first, token = lives.ingestions.page("default", Listing(2))
    lives.begin("newest", create_time=START + timedelta(days=1))
    rest, end = lives.ingestions.page("default", Listing(2, token))

    assert ([one.id for one in first + rest], end) == (["3", "2", "1", "0"], "")


@pytest.mark.parametrize("filter", ["", 'dataset = "a"'])
def test_the_usual_lists_are_read_from_an_index_in_order(on_sqlite: Filled, filter: str) -> None:
    plans: list[str] = []
    with statements(on_sqlite.engine) as seen:
        on_sqlite.ingestions.page("default", Listing(filter=filter))
    with on_sqlite.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        marks = seen[0].count("?")
        plans = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {seen[0]}", ("x",) * marks)]
        names = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'index'")).scalars())

    assert "ingestions_by_dataset" in names
    assert not [step for step in plans if "SCAN" in step or "TEMP B-TREE" in step]
    assert any("ingestions_by_" in step for step in plans)
