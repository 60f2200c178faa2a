"""What is known of each flight when it departs: one row of three datasets, made by a job of the mesh."""

from __future__ import annotations

import mlmesh
from mlmesh.processing_jobs import ProcessingJob

DEPARTURES = """
WITH hours AS (
    SELECT DISTINCT ON (origin, time_hour) origin, time_hour, temp, humid, wind_speed, precip, pressure, visib
    FROM weather
),
-- Cancelled flights have no departure and diverted ones no arrival at their destination, so neither has an answer to learn from.
flown AS (
    SELECT *,
        sched_dep_time // 100 * 60 + sched_dep_time % 100 AS sched_dep_minute,
        sched_arr_time // 100 * 60 + sched_arr_time % 100 AS sched_arr_minute
    FROM flights
    WHERE dep_delay IS NOT NULL AND arr_delay IS NOT NULL
)
SELECT
    f.year, f.month, f.day, f.sched_dep_time, f.flight, f.carrier, f.origin, f.dest,
    f.dep_delay, f.sched_dep_minute, (f.sched_arr_minute - f.sched_dep_minute + 1440) % 1440 AS sched_duration_minutes,
    isodow(make_date(f.year, f.month, f.day)) - 1 AS weekday, f.distance,
    h.temp, h.humid, h.wind_speed, h.precip, h.pressure, h.visib,
    f.year - p.year AS plane_age_years, p.seats,
    f.arr_delay > 15 AS late
FROM flown AS f
LEFT JOIN hours AS h ON f.origin = h.origin AND f.time_hour = h.time_hour
LEFT JOIN planes AS p ON f.tailnum = p.tailnum
"""
"""Late is more than 15 minutes after schedule: the bound that the US DOT uses.

Of several reports of an hour the plan takes the least, by its columns from left to right, where SQL would leave it open.
"""


def join(client: mlmesh.Mesh) -> ProcessingJob:
    """Makes the dataset `departures`, one row a flight that left and arrived.

    Raises:
        mlmesh.errors.ProcessingFailed: The job failed.
    """
    datasets = {name: name for name in ("flights", "weather", "planes")}
    return client.processing.run(DEPARTURES, inputs=datasets, outputs="departures", display_name="flights with weather and planes")
