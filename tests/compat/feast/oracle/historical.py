"""Makes a training set by Feast itself, with its DuckDB offline store: `python historical.py folder`.

The folder has `views.json` (for each view: name, key, event time, features, age in seconds or none), `spine.parquet`, and a Parquet file a
view. The answer becomes `answer.parquet`; the seconds that it took, from the call to the rows as Arrow, are printed as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, Int64, String

TYPES = {"int64": Int64, "double": Float64, "string": String}


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    store = FeatureStore(
        config=RepoConfig(
            project="oracle",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={"type": "duckdb"},
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
    )
    entities: dict[str, Entity] = {}
    views, features = [], []
    for given in json.loads((folder / "views.json").read_text()):
        key = given["key"]
        entities.setdefault(key, Entity(name=key, join_keys=[key], value_type=ValueType.INT64))
        schema = pq.read_schema(folder / f"{given['name']}.parquet")
        view = FeatureView(
            name=given["name"],
            entities=[entities[key]],
            ttl=timedelta(seconds=given["max_age_s"]) if given["max_age_s"] is not None else timedelta(0),
            schema=[Field(name=key, dtype=Int64)]
            + [Field(name=name, dtype=TYPES[str(schema.field(name).type)]) for name in given["features"]],
            source=FileSource(path=str(folder / f"{given['name']}.parquet"), timestamp_field=given["event_time"]),
            online=False,
        )
        views.append(view)
        features += [f"{given['name']}:{name}" for name in given["features"]]
    store.apply([*entities.values(), *views])
    spine = pd.read_parquet(folder / "spine.parquet")
    started = time.perf_counter()
    answer = store.get_historical_features(entity_df=spine, features=features).to_arrow()
    seconds = time.perf_counter() - started
    pq.write_table(answer, folder / "answer.parquet")
    print(json.dumps({"seconds": seconds, "rows": answer.num_rows}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
