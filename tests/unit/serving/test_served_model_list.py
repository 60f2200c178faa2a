from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aip_filter import QueryError
from servers.serving.entries import ModelView, State
from servers.serving.served_model_list import list_page
from servers.serving.statistics import StatisticsView

START = datetime(2026, 1, 1, tzinfo=UTC)


def view(name: str, version: int, state: State = State.READY) -> ModelView:
    load_time = START + timedelta(minutes=version) if state is State.READY else None
    return ModelView("default", name, version, state, "", "", 0, None, load_time, 0.0, StatisticsView())


VIEWS = [view("b", 1), view("a", 2), view("a", 1, State.FAILED), view("c", 7, State.LOADING)]


def names(filter_text: str = "", order_by: str = "") -> list[tuple[str, int]]:
    page, _ = list_page(VIEWS, project="default", size=0, token="", filter_text=filter_text, order_by=order_by)
    return [(model.name, model.version) for model in page]


def test_models_are_listed_by_name_and_version():
    assert names() == [("a", 1), ("a", 2), ("b", 1), ("c", 7)]


@pytest.mark.parametrize(
    ("filter_text", "expected"),
    [
        ('state = "READY"', [("a", 2), ("b", 1)]),
        ('name = "a" AND version > 1', [("a", 2)]),
        ('NOT state = "READY"', [("a", 1), ("c", 7)]),
    ],
)
def test_a_filter_selects(filter_text, expected):
    assert names(filter_text) == expected


def test_an_order_is_followed():
    assert names(order_by="version desc, name") == [("c", 7), ("a", 2), ("a", 1), ("b", 1)]
    assert names(order_by="load_time desc")[0] == ("a", 2)


@pytest.mark.parametrize(("filter_text", "order_by"), [("digest = 1", ""), ("state = GONE", ""), ("", "digest")])
def test_what_cannot_be_asked_is_refused(filter_text, order_by):
    with pytest.raises(QueryError):
        names(filter_text, order_by)


@given(st.integers(1, 5), st.sampled_from(["", "name desc", "version", "load_time desc, version", "load_time"]))
def test_pages_together_are_the_whole(size, order_by):
    paged = []
    token = ""
    while True:
        page, token = list_page(VIEWS, project="default", size=size, token=token, filter_text="", order_by=order_by)
        assert len(page) <= size
        paged += [(model.name, model.version) for model in page]
        if not token:
            break

    assert paged == names(order_by=order_by)


def test_a_token_belongs_to_its_project():
    _, token = list_page(VIEWS, project="default", size=1, token="", filter_text="", order_by="")

    with pytest.raises(QueryError):
        list_page(VIEWS, project="other", size=1, token=token, filter_text="", order_by="")
