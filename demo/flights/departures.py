"""The flights that are learned from: those that left and arrived, with what is known of each by itself when it departs."""

from __future__ import annotations

import mlmesh
from mlmesh.processing_jobs import ProcessingJob

DEPARTURES = """
SELECT
    year, month, day, sched_dep_time, flight, carrier, origin, dest, tailnum, time_hour, dep_delay, distance,
    sched_dep_time // 100 * 60 + sched_dep_time % 100 AS sched_dep_minute,
    (sched_arr_time // 100 * 60 + sched_arr_time % 100 - (sched_dep_time // 100 * 60 + sched_dep_time % 100) + 1440) % 1440
        AS sched_duration_minutes,
    isodow(make_date(year, month, day)) - 1 AS weekday,
    arr_delay > 15 AS late
FROM flights
-- Cancelled flights have no departure and diverted ones no arrival at their destination, so neither has an answer to learn from.
WHERE dep_delay IS NOT NULL AND arr_delay IS NOT NULL
"""
"""Late is more than 15 minutes after schedule: the bound that the US DOT uses."""


def make_departures(client: mlmesh.Mesh) -> ProcessingJob:
    """Makes the dataset `departures`, one row a flight that left and arrived.

    Raises:
        mlmesh.errors.ProcessingFailed: The job failed.
    """
    return client.processing.run(DEPARTURES, inputs={"flights": "flights"}, outputs="departures", display_name="flights that arrived")
