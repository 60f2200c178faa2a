"""What librdkafka says went wrong, as errors of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from servers.ingestion.subscriptions.errors import KafkaAccessDenied, KafkaSettingsInvalid, KafkaUnavailable
from servers.runtime.errors import DomainError

_DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
}
_PROPERTY = re.compile(r'"([a-z0-9._]+)"|\b([a-z]+(?:\.[a-z0-9]+)+)\b')
_MOST_CHARACTERS = 200


def error_of(error: KafkaError, cluster: str) -> DomainError:
    """Returns the error that a caller learns.

    Args:
        error: As librdkafka has it.
        cluster: Name of the Kafka in the setting.
    """
    detail = f"{error.name()}: {error.str()}"[:_MOST_CHARACTERS]
    return KafkaAccessDenied(cluster, detail) if error.code() in _DENIED else KafkaUnavailable(cluster, detail)


@contextmanager
def typed_errors(cluster: str) -> Iterator[None]:
    """Turns exceptions of the client into errors of ours."""
    try:
        yield
    except KafkaException as error:
        raise error_of(error.args[0], cluster) from None


@contextmanager
def typed_settings(cluster: str, properties: dict[str, str]) -> Iterator[None]:
    """Turns a refusal of properties into an error that names them, and none of their values."""
    try:
        yield
    except (KafkaException, ValueError, TypeError) as error:
        words = {found for groups in _PROPERTY.findall(str(error)) for found in groups if found}
        raise KafkaSettingsInvalid(cluster, sorted(words & properties.keys())) from None
