"""A repository of Feast whose online store is the mesh."""

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Array, Bool, Float64, Int64, String, UnixTimestamp

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
shop = Entity(name="shop", join_keys=["shop_code"], value_type=ValueType.STRING)

spending = FeatureView(
    name="spending",
    entities=[customer],
    ttl=timedelta(days=2),
    source=PushSource(
        name="spending_push",
        batch_source=FileSource(
            name="spending_rows", path="spending.parquet", timestamp_field="happened", created_timestamp_column="written"
        ),
    ),
    schema=[
        Field(name="amount", dtype=Float64),
        Field(name="orders", dtype=Int64),
        Field(name="vip", dtype=Bool),
        Field(name="word", dtype=String),
        Field(name="last", dtype=UnixTimestamp),
        Field(name="tags", dtype=Array(String)),
    ],
    tags={"tier": "gold"},
)
visits = FeatureView(
    name="visits",
    entities=[customer, shop],
    ttl=timedelta(0),
    source=PushSource(name="visit_push", batch_source=FileSource(name="visit_rows", path="visits.parquet", timestamp_field="at")),
    schema=[Field(name="count", dtype=Int64)],
)
checkout = FeatureService(name="checkout", features=[spending[["amount", "orders"]], visits])
friends = FeatureService(
    name="friends",
    features=[
        spending[["amount"]].with_name("friend").with_join_key_map({"customer_id": "friend_id"}),
        spending[["amount"]],
    ],
)
