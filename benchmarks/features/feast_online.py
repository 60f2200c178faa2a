"""Feast's side of `benchmarks.features online`, run by the Python of `.venv-feast`; it knows nothing of mlmesh.

`prepare <folder>` fills Redis with `rows.parquet`. `measure <folder> <address> <rows> <calls>` calls a server that `feast listen` runs, by
Feast's own stubs, and prints the seconds of each call as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
import warnings
from pathlib import Path

import pandas as pd


def prepare(folder: Path) -> None:
    """Writes the features of all users into the online store."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64, Int64

    rows = pd.read_parquet(folder / "rows.parquet")
    names = [name for name in rows.columns if name.startswith("feature_")]
    user = Entity(name="user_id", join_keys=["user_id"], value_type=ValueType.INT64)
    source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="event_time")
    schema = [Field(name="user_id", dtype=Int64), *(Field(name=name, dtype=Float64) for name in names)]
    store = FeatureStore(repo_path=str(folder))
    store.apply([user, FeatureView(name="activity", entities=[user], schema=schema, source=source)])
    store.write_to_online_store("activity", rows)


def measure(folder: Path, address: str, rows: int, calls: int) -> None:
    """Calls the server one call after the other, and prints what each took."""
    import grpc
    from feast.protos.feast.serving.GrpcServer_pb2_grpc import GrpcFeatureServerStub
    from feast.protos.feast.serving.ServingService_pb2 import FeatureList, GetOnlineFeaturesRequest
    from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value

    told = json.loads((folder / "told.json").read_text())
    chance = random.Random(rows)
    with grpc.insecure_channel(address) as channel:
        stub, taken = GrpcFeatureServerStub(channel), []
        for number in range(-told["warm_up"], calls):
            users = [chance.randrange(told["users"]) for _ in range(rows)]
            started = time.perf_counter()
            request = GetOnlineFeaturesRequest(
                features=FeatureList(val=[f"activity:{name}" for name in told["features"]]),
                entities={"user_id": RepeatedValue(val=[Value(int64_val=user) for user in users])},
            )
            answer = stub.GetOnlineFeatures(request)
            if number >= 0:
                taken.append(time.perf_counter() - started)
        # The join key comes before the features.
        if len(answer.results) != 1 + len(told["features"]) or any(result.statuses[0] != 1 for result in answer.results):
            raise SystemExit("Feast did not answer with all features")
    print(json.dumps(taken))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1] == "prepare":
        prepare(Path(sys.argv[2]))
    else:
        measure(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
