"""From the raw files to checked datasets of the mesh, and from those to rows."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlmesh
import pandas as pd
from deltalake import DeltaTable
from mlmesh.datasets import Dataset
from mlmesh.ingestions import Ingestion
from mlmesh.validation_reports import ValidationReport

from demo.flights.arrivals import split_file
from demo.flights.backends import Landing
from demo.flights.dataset import FlightFiles

SUITE = {
    "name": "flights",
    "expectations": [
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 300_000}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "sched_dep_time"}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "origin", "value_set": ["EWR", "JFK", "LGA"]}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "dep_delay", "min_value": -60, "max_value": 1500}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "month", "min_value": 1, "max_value": 12}},
        # Cancelled flights have none.
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "arr_delay", "mostly": 0.95}},
    ],
}
"""What has to hold for the flights, as Great Expectations writes it."""


def land(files: FlightFiles, landing: Landing, first_arriving_month: int) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Lays the raw files where the mesh may read them.

    Args:
        files: The files as they were installed.
        landing: Where to.
        first_arriving_month: Flights of this month and later are in no file.

    Returns:
        Names of datasets and the URI of the file of each; and the flights that are to arrive.
    """
    with TemporaryDirectory() as folder, zipfile.ZipFile(files.flights) as packed:
        before, arriving = split_file(Path(packed.extract("flights.csv", folder)), first_arriving_month)
        flights = landing.put(before)
    return {"flights": flights, "weather": landing.put(files.weather), "planes": landing.put(files.planes)}, arriving


def ingest(client: mlmesh.Mesh, uris: Mapping[str, str]) -> list[Ingestion]:
    """Has the mesh read the files into datasets, in place of what these had.

    Args:
        client: The mesh.
        uris: Names of datasets, and the URI of the file of each.

    Raises:
        mlmesh.errors.IngestionFailed: A file cannot be read.
    """
    return [client.ingestion.ingest_data(name, uri, mode="overwrite") for name, uri in uris.items()]


def validate(client: mlmesh.Mesh) -> ValidationReport:
    """Checks the flights."""
    return client.ingestion.validate_data(SUITE, dataset="flights")


def read(client: mlmesh.Mesh, name: str, storage_options: Mapping[str, str]) -> tuple[Dataset, pd.DataFrame]:
    """Reads a dataset where it lies: a Delta table, which any tool can read.

    Args:
        client: The mesh.
        name: The dataset.
        storage_options: How its storage is reached, as deltalake takes it.
    """
    dataset = client.ingestion.get_dataset(name)
    return dataset, DeltaTable(dataset.uri, version=dataset.version, storage_options=dict(storage_options)).to_pandas()
