"""The same five jobs on real flights, through the whole mesh, on every engine: equal results."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import mlmesh
import pandas as pd
import pytest
from deltalake import DeltaTable
from mlmesh import plan

from demo.flights.dataset import find_files
from tests.whole_mesh import whole_mesh

ENGINES = ("local", "ray", "dask", "spark")
INPUTS = {"flights": "flights", "weather": "weather", "planes": "planes"}
LATE_BY_CARRIER = """
SELECT f.carrier, count(*) AS flights, sum(f.arr_delay) AS minutes, avg(CAST(f.arr_delay AS DECIMAL(10, 2))) AS mean,
    max(p.seats) AS most_seats
FROM flights AS f LEFT JOIN planes AS p ON f.tailnum = p.tailnum
WHERE f.arr_delay > 15
GROUP BY f.carrier
"""


def share_late(table):  # type: ignore[no-untyped-def]  # its source is sent, as people write it
    import pyarrow as pa
    import pyarrow.compute as pc

    late = pc.sum(pc.cast(pc.greater(table["arr_delay"], 15), pa.int64())).as_py()
    return pa.table({"origin": table["origin"][:1], "dest": table["dest"][:1], "late": pa.array([late], pa.int64())})


def jobs() -> dict[str, Any]:
    """What each job computes: SQL, or a relation."""
    flights, weather = plan.scan("flights"), plan.scan("weather")
    departures = flights.filter("dep_delay IS NOT NULL").with_columns(departure="time_hour + to_minutes(minute)")
    reports = weather.select("origin", "time_hour", "temp", "wind_speed")
    numbers = ["dep_delay", "distance", "air_time"]
    return {
        "late_by_carrier": LATE_BY_CARRIER,
        "weather_at_departure": departures.select("origin", "flight", "carrier", "departure").as_of_join(
            reports, by="origin", time="departure", right_time="time_hour", tolerance=timedelta(hours=2)
        ),
        "flights_before": departures.window(
            partition_by="tailnum", order_by=["departure", "flight"], before="lag(dest, 1)", number="row_number()"
        ).select("tailnum", "departure", "flight", "dest", "before", "number"),
        "training_rows": departures.select("year", "month", "day", "flight", "carrier", "origin", *numbers)
        .split({"train": 0.8, "test": 0.2}, keys=["carrier", "flight"])
        .impute(numbers, strategy="median", fit_condition="split = 'train'")
        .scale(numbers, kind="min_max", fit_condition="split = 'train'")
        .encode("carrier", kind="ordinal"),
        "late_by_route": flights.filter("arr_delay IS NOT NULL")
        .select("origin", "dest", "arr_delay")
        .map_batches(share_late, schema={"origin": "VARCHAR", "dest": "VARCHAR", "late": "BIGINT"}, by=["origin", "dest"])
        .top(50, order_by=[plan.desc("late"), "origin", "dest"]),
    }


@pytest.fixture(scope="module")
def mesh() -> Iterator[mlmesh.Mesh]:
    with whole_mesh({"MLMESH_PROCESSING_ALLOWS_PYTHON_FUNCTIONS": "true"}) as running:
        client = running.client()
        files = find_files()
        with zipfile.ZipFile(files.flights) as packed:
            client.ingestion.ingest_data("flights", packed.read("flights.csv"), name="flights.csv")
        client.ingestion.ingest_data("weather", files.weather)
        client.ingestion.ingest_data("planes", files.planes)
        yield client


@pytest.mark.parametrize("name", list(jobs()))
def test_a_job_has_the_same_result_on_every_engine(mesh: mlmesh.Mesh, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows: dict[str, pd.DataFrame] = {}
    for engine in ENGINES:
        computation = jobs()[name]
        dataset = f"{name}_{engine}"
        resources = mlmesh.JobResources(memory_mib=4096, threads=2)
        if isinstance(computation, str):
            job = mesh.processing.run(computation, inputs=INPUTS, outputs=dataset, engine=engine, resources=resources)
        else:
            inputs = {each: INPUTS[each] for each in ("flights", "weather") if each == "flights" or name == "weather_at_departure"}
            job = mesh.processing.run(inputs=inputs, outputs={dataset: computation}, engine=engine, resources=resources)
        made = mesh.ingestion.get_dataset(dataset)
        rows[engine] = _in_order(DeltaTable(made.uri, version=made.version).to_pandas())
        with capsys.disabled():
            seconds = (job.end_time - job.start_time).total_seconds() if job.end_time and job.start_time else 0.0
            print(
                f"\n{name} on {engine}: {made.row_count:,} rows, {seconds:.1f} s, at most {job.peak_memory_bytes / 2**20:.0f} MiB", end=""
            )

    assert len(rows["local"]) >= 10
    for engine in ENGINES[1:]:
        # Sums of floating-point numbers differ in their last digits; all else is equal.
        pd.testing.assert_frame_equal(rows[engine], rows["local"], rtol=1e-12, atol=0)


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(list(rows.columns), ignore_index=True)
