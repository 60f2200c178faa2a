"""The Kafkas that subscriptions may name, from the server's settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr

from servers.ingestion.subscriptions.errors import KafkaClusterUnknown

_ALLOWED = re.compile(
    r"bootstrap\.servers|metadata\.broker\.list|security\.protocol|sasl\..*|ssl\..*|enable\.ssl\.certificate\.verification|enable\.sasl\.oauthbearer\..*"
    r"|client\.(id|rack|dns\.lookup)|broker\.address\.(family|ttl)|socket\..*|connections\.max\.idle\.ms|reconnect\.backoff\..*|retry\.backoff\..*"
    r"|(topic\.)?metadata\.(max\.age|refresh\..*|propagation\..*|recovery\..*)(\.ms)?|session\.timeout\.ms|heartbeat\.interval\.ms|max\.poll\.interval\.ms"
    r"|fetch\..*|max\.partition\.fetch\.bytes|queued\..*|message\.max\.bytes|receive\.message\.max\.bytes|check\.crcs|api\.version\..*|broker\.version\.fallback"
)
"""Where the Kafka is, who we are there, and how patiently and how much at a time is read. Not how offsets are kept."""

_REFUSED = re.compile(
    r"sasl\.kerberos\.kinit\.cmd|ssl\.(engine|providers|engine\..*)|ssl\.engine\.location|sasl\.oauthbearer\..*\.file|.*_cb|.*_callback.*"
)
"""Commands to run, and libraries to load."""


def _checked(clusters: Any) -> Any:
    if not isinstance(clusters, Mapping):
        raise ValueError("kafka_clusters is a JSON object of names, each with an object of librdkafka's properties")
    return {name: _properties(str(name), properties) for name, properties in clusters.items()}


def _properties(name: str, properties: Any) -> dict[str, Any]:
    if not isinstance(properties, Mapping) or not {"bootstrap.servers", "metadata.broker.list"} & properties.keys():
        raise ValueError(f"kafka_clusters: {name!r} needs an object of librdkafka's properties with bootstrap.servers")
    for key, value in properties.items():
        if not _ALLOWED.fullmatch(key) or _REFUSED.fullmatch(key):
            raise ValueError(f"kafka_clusters: {name!r} may not have the property {key!r}: it is unknown, or the server's own business")
        if not isinstance(value, str | int | float | SecretStr):
            raise ValueError(f"kafka_clusters: {name!r} has {key!r} with a value that is neither text nor a number nor true or false")
    return {key: _text(value) for key, value in properties.items()}


def _text(value: str | float | SecretStr) -> str | SecretStr:
    return str(value).lower() if isinstance(value, bool) else value if isinstance(value, SecretStr) else str(value)


KafkaClusters = Annotated[dict[str, dict[str, SecretStr]], BeforeValidator(_checked)]
"""By name, librdkafka's properties. All values are secrets, so that none is in a log or an error."""


def properties_of(clusters: Mapping[str, Mapping[str, SecretStr]], name: str) -> dict[str, str]:
    """Returns the properties of a cluster.

    Args:
        clusters: Of the settings.
        name: Of the cluster.

    Raises:
        KafkaClusterUnknown: NOT_FOUND: there is none of this name.
    """
    if name not in clusters:
        raise KafkaClusterUnknown(name, list(clusters))
    return {key: value.get_secret_value() for key, value in clusters[name].items()}
