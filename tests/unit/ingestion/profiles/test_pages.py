"""Pages: nothing from data becomes markup, nothing is loaded, and what is on them can be read."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pyarrow as pa
import pytest

from servers.ingestion.data_process.validating import report_object
from servers.ingestion.expectations import suite_from_json, validate
from servers.ingestion.pages import ingestion_page, profile_page, validation_page
from servers.ingestion.profiles.description import profile_object
from servers.ingestion.profiles.sketches import TableSketch

HOSTILE = """</title></style></svg><script>alert('1')</script><img src=x onerror=alert(2)>"'{{ 7 * 7 }}&amp;"""
_CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_ALLOWED_TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "b",
        "ul",
        "li",
        "div",
        "section",
        "span",
        "code",
        "a",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "svg",
        "rect",
        "line",
    ]
)


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "rect", "line"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("meta", "rect", "line"):
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "rect", "line"):
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))


def hostile_table() -> pa.Table:
    return pa.table(
        {
            HOSTILE: pa.array([HOSTILE, HOSTILE, None]),
            "number" + HOSTILE: pa.array([1.5, 2.5, float("inf")]),
            "bytes": pa.array([b"<script>", None, b""]),
            "many": pa.array([{"a<b>": "<i>"}] * 3),
        }
    )


def profile_of(table: pa.Table, dataset: str = "orders") -> dict[str, Any]:
    return profile_object(dataset, 3, table.schema, TableSketch.of(table.to_batches()))


def profile() -> str:
    return profile_page(profile_of(hostile_table(), HOSTILE), project=HOSTILE)


def report() -> dict[str, Any]:
    expectations = [
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": HOSTILE, "value_set": [HOSTILE[:5], "<b>"]}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": HOSTILE}, "severity": "warning"},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "<missing>", "min_value": 1}},
        {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 3}},
    ]
    return report_object(validate(suite_from_json({"name": HOSTILE, "expectations": expectations}), hostile_table()))


def ingestion(**more: Any) -> dict[str, Any]:
    return {
        "id": "4f7", "project": "default", "dataset": HOSTILE, "source": HOSTILE, "mode": "APPEND", "state": "FAILED", "creator": HOSTILE,
        "error_reason": "EXPECTATIONS_NOT_MET", "error_message": HOSTILE, "version": None, "rows_read": 1234, "rows_added": 1000,
        "rows_updated": 200, "rows_rejected": 34, "schema_changes": [HOSTILE], "warnings": [HOSTILE],
        "rejected": [{"row": row, "column": HOSTILE, "value": value, "reason": "TYPE"} for row, value in ((5, HOSTILE), (6, None))],
        "validation": report(), "create_time": "2026-11-27 12:00:00 UTC", "start_time": None, "end_time": None,
    } | more  # fmt: skip


PAGES: dict[str, Callable[[], str]] = {
    "profile": profile,
    "validation": lambda: validation_page(report(), subject=HOSTILE),
    "ingestion": lambda: ingestion_page(ingestion()),
}


@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES.keys())
def test_nothing_from_data_becomes_markup_and_nothing_is_loaded(make: Callable[[], str]) -> None:
    page = Page(make())

    assert page.open == []
    assert page.tags <= _ALLOWED_TAGS
    assert HOSTILE in "".join(page.texts)
    assert ("meta", "content", _CONTENT_POLICY) in page.attributes
    assert {value[0] for _, name, value in page.attributes if name == "href"} <= {"#"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("src", "srcset", "action", "xlink:href")]


@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES.keys())
def test_links_lead_to_something_on_the_page(make: Callable[[], str]) -> None:
    page = Page(make())

    places = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for _, name, value in page.attributes if name == "href"} <= places


def test_a_profile_shows_figures_and_each_plot_has_a_table() -> None:
    table = pa.table({"delay": pa.array([float(number) for number in range(1000)] + [None] * 250), "carrier": ["UA", "AA"] * 625})
    page = Page(profile_page(profile_of(table), project="default"))

    assert "1,250 rows" in page.text
    assert "250 (20.0 %)" in page.text
    assert "UA62550.0 %" in page.text
    assert ("svg", "aria-label", "Distribution of delay; its numbers are in the table below") in page.attributes
    assert "Estimated values in each range" in page.text


def test_a_report_shows_rows_that_break_rules() -> None:
    page = Page(validation_page(report(), subject="orders"))

    assert "1 of 4 expectations" in page.text
    assert "COLUMN_NOT_FOUND" in page.text or "COLUMN_MISSING" in page.text
    assert "The first 2 of 2 rows that break the rule" in page.text


@pytest.mark.parametrize(
    "table",
    [
        pa.table({}),
        pa.table({"a": pa.array([], pa.int64()), "b": pa.array([], pa.string())}),
        pa.table({"a": pa.nulls(3, pa.float64()), "b": pa.nulls(3, pa.timestamp("us"))}),
        pa.table({"a": [1e308, -1e308, float("inf")], "b": [0.0, 0.0, 0.0]}),
        pa.table({"a": pa.array([-(2**60), 2**60]).cast(pa.timestamp("us", "UTC"))}),
        pa.table({"a": pa.array([-(2**31), 2**31 - 1], pa.int32()).cast(pa.date32())}),
        pa.table({f"c{number}": [number] for number in range(250)}),
    ],
    ids=["no columns", "no rows", "all null", "huge", "far times", "far days", "many columns"],
)
def test_a_page_comes_whatever_there_is(table: pa.Table) -> None:
    assert Page(profile_page(profile_of(table), project="default")).open == []


def test_an_ingestion_that_waits_has_a_page() -> None:
    waiting = ingestion(state="QUEUED", rows_read=0, rows_added=0, rows_updated=0, rows_rejected=0, rejected=[], validation=None)

    assert "QUEUED" in Page(ingestion_page(waiting)).text
