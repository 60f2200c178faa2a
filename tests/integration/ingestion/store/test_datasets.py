from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from aip_filter import FilterError, OrderByError, PageTokenError
from servers.ingestion.records import Dataset
from servers.ingestion.store import DatasetNotFound, Datasets
from servers.runtime.paging import Listing
from sql_engine import write
from tests.integration.ingestion.store.lives import statements
from tests.integration.runtime.work.conftest import DATABASES

START = datetime(2026, 11, 1, 12, 30, 0, 123456, tzinfo=UTC)
ORDERS = ["", "name desc", "create_time", "create_time desc", "update_time", "update_time desc, name", "create_time, update_time desc"]


def dataset(name: str = "flights", version: int = 0, **fields: Any) -> Dataset:
    known: dict[str, Any] = {
        "project": "default",
        "name": name,
        "version": version,
        "columns": (("größe", "decimal128(38, 9)"), ("a b", "list<item: int64>")),
        "row_count": 2**40 + version,
        "size_bytes": 2**50,
        "create_time": START,
        "update_time": START + timedelta(seconds=version),
    }
    return Dataset(**known | fields)


def put(engine: Engine, datasets: Datasets, *several: Dataset) -> None:
    for one in several:
        write(engine, lambda connection, one=one: datasets.put(connection, one))  # type: ignore[misc]


def names(datasets: Datasets, filter: str = "", order_by: str = "", project: str = "default") -> list[str]:
    return [one.name for one in datasets.page(project, Listing(filter=filter, order_by=order_by))[0]]


def test_a_dataset_comes_back_as_it_was_put(engine: Engine, datasets: Datasets) -> None:
    wide = dataset("wide", columns=tuple((f"column-{number}", "string") for number in range(5000)))
    huge = replace(dataset("huge", columns=()), version=2**62)
    put(engine, datasets, dataset(), wide, huge)

    assert datasets.get("default", "flights") == dataset()
    assert datasets.get("default", "wide") == wide
    assert datasets.get("default", "huge") == huge


def test_one_that_is_not_there_is_named_with_its_project(engine: Engine, datasets: Datasets) -> None:
    put(engine, datasets, dataset())

    for project, name in (("default", "Flights"), ("another", "flights"), ("default", "flights ")):
        with pytest.raises(DatasetNotFound, match="IngestData makes one") as absent:
            datasets.get(project, name)
        assert (absent.value.reason, absent.value.metadata) == ("DATASET_NOT_FOUND", {"project": project, "name": name})


def test_a_newer_version_replaces_all_but_the_time_of_creation(engine: Engine, datasets: Datasets) -> None:
    newer = dataset(version=4, columns=(("id", "int64"),), create_time=START + timedelta(days=1))
    put(engine, datasets, dataset(version=3), newer)

    assert datasets.get("default", "flights") == replace(newer, create_time=START)


def test_an_older_or_the_same_version_changes_nothing(engine: Engine, datasets: Datasets) -> None:
    put(engine, datasets, dataset(version=4), dataset(version=3, columns=()), dataset(version=4, columns=()))

    assert datasets.get("default", "flights") == dataset(version=4)


def test_of_versions_that_are_put_at_once_the_newest_stays(engine: Engine, datasets: Datasets) -> None:
    start = threading.Barrier(8)

    def put_versions(first: int) -> None:
        start.wait()
        for version in (first + 8, first + 16, first):
            put(engine, datasets, dataset(version=version))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put_versions, range(8)))

    assert datasets.get("default", "flights") == dataset(version=23)


# Writers of SQLite come one by one.
@pytest.mark.parametrize("migrated", DATABASES[1:], indirect=True)
@pytest.mark.parametrize("other_version", [1, 3])
def test_one_that_somebody_else_adds_meanwhile_is_renewed_where_it_is_older(engine: Engine, datasets: Datasets, other_version: int) -> None:
    others = [dataset(version=other_version)]

    def add_before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT") and others:
            put(engine, datasets, others.pop())

    event.listen(engine, "before_cursor_execute", add_before)
    try:
        put(engine, datasets, dataset(version=2))
    finally:
        event.remove(engine, "before_cursor_execute", add_before)

    assert others == []
    assert datasets.get("default", "flights") == dataset(version=max(2, other_version))


def test_one_that_was_removed_is_gone_and_may_begin_again(engine: Engine, datasets: Datasets) -> None:
    put(engine, datasets, dataset(version=7), dataset(project="another"), dataset("planes"))
    for _ in range(2):
        write(engine, lambda connection: datasets.remove(connection, "default", "flights"))
    left = names(datasets), names(datasets, project="another")
    again = dataset(version=0, create_time=START + timedelta(days=1))
    put(engine, datasets, again)

    assert left == (["planes"], ["flights"])
    assert datasets.get("default", "flights") == again


@pytest.mark.parametrize("order_by", ORDERS)
@pytest.mark.parametrize("filter", ["", 'name : "a"'])
def test_pages_are_what_the_filter_selects_in_order(engine: Engine, datasets: Datasets, order_by: str, filter: str) -> None:
    known = [
        dataset(name, create_time=START + timedelta(seconds=number % 3), update_time=START + timedelta(seconds=number % 4))
        for number, name in enumerate(["a", "B", "b", "A", "ab", "a-b", "a_b", "9a", "Za", "z", "c", "d", "aa"])
    ]
    put(engine, datasets, *known, dataset("another", project="another"))
    order = [(part.split()[0], part.endswith(" desc")) for part in (order_by or "name").split(", ")]
    expected = [one for one in known if not filter or "a" in one.name]
    for field, descends in reversed([*order, ("name", order[-1][1])]):
        expected.sort(key=lambda one: getattr(one, field), reverse=descends)

    for page_size in (1, 4, 1000):
        found: list[Dataset] = []
        listing = Listing(page_size, filter=filter, order_by=order_by)
        while True:
            page, token = datasets.page("default", listing)
            found += page
            if not token:
                break
            listing = replace(listing, page_token=token)
        assert found == expected


def test_filters_select_by_every_field(engine: Engine, datasets: Datasets) -> None:
    put(engine, datasets, dataset("a"), dataset("b", version=5), dataset("c", create_time=START + timedelta(days=1)))

    assert names(datasets, 'name = "a" OR name = "c"') == ["a", "c"]
    assert names(datasets, f'update_time > "{START.isoformat()}"') == ["b"]
    assert names(datasets, f'NOT create_time > "{START.isoformat()}"') == ["a", "b"]


def test_wrong_queries_say_what_is_right(engine: Engine, datasets: Datasets) -> None:
    put(engine, datasets, dataset("a"), dataset("b"))
    _, token = datasets.page("default", Listing(1))

    with pytest.raises(FilterError, match="create_time, name, update_time"):
        datasets.page("default", Listing(filter="row_count > 1"))
    with pytest.raises(OrderByError, match="create_time, name, update_time"):
        datasets.page("default", Listing(order_by="version"))
    for project, listing in (("another", Listing(1, token)), ("default", Listing(1, token, 'name = "b"'))):
        with pytest.raises(PageTokenError):
            datasets.page(project, listing)


def test_looks_and_pages_are_one_statement_each(engine: Engine, datasets: Datasets) -> None:
    put(engine, datasets, dataset("a"), dataset("b"))

    with statements(engine) as seen:
        datasets.get("default", "a")
        datasets.page("default", Listing(filter='name = "a*"'))

    assert len(seen) == 2


def test_a_newer_version_is_one_statement(engine: Engine, datasets: Datasets) -> None:
    put(engine, datasets, dataset(version=0))

    with statements(engine) as seen:
        put(engine, datasets, dataset(version=1))

    assert [statement.split()[0] for statement in seen] == ["UPDATE"]
