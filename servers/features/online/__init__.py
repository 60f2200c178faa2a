"""The newest features of entities, packed into one vector each, in LMDB, Redis or PostgreSQL.

```python
schema = VectorSchema.of([("age", "int32"), ("embedding", "list<float32>")])
user = [JoinKey("user_id", JoinKeyType.INT64)]

store = open_online_store("lmdb:////var/lib/mlmesh/online")
rows = map(OnlineRow, keys_of_batch(user, batch, ["user_id"]), vectors_of_batch(schema, batch, "event_time", write_times_us))
store.write("fraud/user_features@3", rows)
[found] = read_views(store, [ViewRead("fraud/user_features@3", schema, entity_keys(user, [[7, 8]]), max_age_us)], now_us)
```

`keys_of_batch` and `vectors_of_batch` are in `arrow_columns`, which imports pyarrow.
"""

from servers.features.online.columns import Column, Lists, Strings, python_values
from servers.features.online.feature_types import Feature, FeatureType, VectorSchema, feature_type
from servers.features.online.keys import JoinKey, JoinKeyType, entity_keys
from servers.features.online.opening import open_online_store
from servers.features.online.reading import ValueStatus, ViewRead, ViewRows, read_views
from servers.features.online.store import OnlineRow, OnlineStore, Written
from servers.features.online.vectors import RowState, decode_vectors, encode_vectors

__all__ = [
    "Column",
    "Feature",
    "FeatureType",
    "JoinKey",
    "JoinKeyType",
    "Lists",
    "OnlineRow",
    "OnlineStore",
    "RowState",
    "Strings",
    "ValueStatus",
    "VectorSchema",
    "ViewRead",
    "ViewRows",
    "Written",
    "decode_vectors",
    "encode_vectors",
    "entity_keys",
    "feature_type",
    "open_online_store",
    "python_values",
    "read_views",
]
