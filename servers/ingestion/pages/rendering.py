"""Plain data become pages. Jinja2 is loaded with the first one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers.ingestion.pages import charts, texts

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_COLUMNS = 200
"""Columns that a page shows one by one; the table at its top has all."""


def profile_page(profile: Mapping[str, Any], *, project: str) -> str:
    """Renders the profile of a dataset, as `profile_object` describes it."""
    return _rendered("profile.html", profile=profile, project=project, most_columns=_MOST_COLUMNS)


def ingestion_page(ingestion: Mapping[str, Any]) -> str:
    """Renders an ingestion, as `profiles.converters.ingestion_object` describes it."""
    reasons = Counter((row["column"], row["reason"]) for row in ingestion["rejected"]).most_common()
    return _rendered("ingestion.html", ingestion=ingestion, reasons=reasons)


def validation_page(report: Mapping[str, Any], *, subject: str) -> str:
    """Renders what a suite found, as `report_object` describes it.

    Args:
        report: What it found.
        subject: What was checked.
    """
    return _rendered("validation.html", report=report, subject=subject)


def _rendered(template: str, **facts: Any) -> str:
    return _environment().get_template(template).render(**facts)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": texts.number, "about": texts.about, "value": texts.value}
    environment.globals |= {
        "share": texts.share,
        "on_axis": texts.on_axis,
        "histogram_bars": charts.histogram_bars,
        "segments": charts.segments,
        "WIDTH": charts.WIDTH,
        "HEIGHT": charts.HEIGHT,
    }
    return environment
