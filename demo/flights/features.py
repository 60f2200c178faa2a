"""What is known beside the flight itself when it departs: the weather at the airport, and the plane.

One definition, for training and for predictions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import mlmesh
import pandas as pd
from mlmesh.errors import AlreadyExists
from mlmesh.feature_jobs import Materialization, TrainingSet

SERVICE = "flight-delay"
WEATHER = dict.fromkeys(("temp", "humid", "wind_speed", "precip", "pressure", "visib"), "float64")
PLANES = "SELECT tailnum, CAST(year AS BIGINT) AS plane_year, seats, TIMESTAMPTZ '2013-01-01 00:00:00+00' AS known_since FROM planes"
"""The register has no dates, and is of 2013."""
SERVED = (*WEATHER, "seats", "plane_age_years")
"""The inputs of the model that are features."""


def define(client: mlmesh.Mesh) -> None:
    """Defines entities, views and the service; what is there already from a demo before stays."""
    with contextlib.suppress(AlreadyExists):
        client.features.create_entity("airport", {"origin": "string"})
    with contextlib.suppress(AlreadyExists):
        client.features.create_entity("plane", {"tailnum": "string"})
    with contextlib.suppress(AlreadyExists):
        client.features.create_view("weather", entities="airport", dataset="weather", event_time="time_hour", features=WEATHER)
    with contextlib.suppress(AlreadyExists):
        client.features.create_view(
            "planes",
            entities="plane",
            sql=PLANES,
            inputs={"planes": "planes"},
            event_time="known_since",
            features={"plane_year": "int64", "seats": "int64"},
        )
    with contextlib.suppress(AlreadyExists):
        client.features.create_service(
            SERVICE, ["weather", "planes"], inputs={"year": "int64"}, on_demand={"plane_age_years": ("year - plane_year", "int64")}
        )


def materialize(client: mlmesh.Mesh) -> list[Materialization]:
    """Computes the views, and brings their newest rows into the online store."""
    return [client.features.materialize(view) for view in ("weather", "planes")]


def make_training_set(client: mlmesh.Mesh) -> TrainingSet:
    """Makes the dataset `training`: each departure with the features that were known at its scheduled hour."""
    return client.features.training_set(SERVICE, spine="departures", label_time="time_hour", dataset="training")


def serve(client: mlmesh.Mesh, flights: pd.DataFrame) -> pd.DataFrame:
    """Serves the features of flights as they are now.

    Args:
        client: The mesh.
        flights: With `origin`, `tailnum` and `year`.

    Returns:
        A column an entry of `SERVED`, in the order of the flights.
    """
    entities: Mapping[str, list[str]] = {name: flights[name].tolist() for name in ("origin", "tailnum")}
    served = client.features.serve(SERVICE, entities, inputs={"year": flights["year"].tolist()})
    return served.to_pandas()[list(SERVED)]
