from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from servers.ingestion.settings import IngestionSettings
from servers.ingestion.subscriptions.clusters import properties_of
from servers.ingestion.subscriptions.errors import KafkaClusterUnknown

SECRET = "hush-4711"
VARIABLE = "MLMESH_INGESTION_KAFKA_CLUSTERS"


def settings(monkeypatch: pytest.MonkeyPatch, clusters: object) -> IngestionSettings:
    monkeypatch.setenv(VARIABLE, json.dumps(clusters))
    return IngestionSettings()


def test_properties_are_texts_and_show_themselves_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "bootstrap.servers": "kafka:9092",
        "sasl.password": SECRET,
        "session.timeout.ms": 6000,
        "enable.ssl.certificate.verification": False,
    }
    found = settings(monkeypatch, {"main": given})
    assert SECRET not in repr(found) + str(found) + found.model_dump_json()
    assert properties_of(found.kafka_clusters, "main") == {
        "bootstrap.servers": "kafka:9092",
        "sasl.password": SECRET,
        "session.timeout.ms": "6000",
        "enable.ssl.certificate.verification": "false",
    }
    with pytest.raises(KafkaClusterUnknown, match="'main'"):
        properties_of(found.kafka_clusters, "other")


@pytest.mark.parametrize(
    "name",
    [
        *("enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset", "auto.commit.interval.ms", "offset.store.method"),
        *("group.id", "group.instance.id", "group.protocol", "partition.assignment.strategy", "isolation.level", "enable.partition.eof"),
        *("plugin.library.paths", "ssl.engine.location", "ssl.providers", "sasl.kerberos.kinit.cmd", "on_commit", "error_cb", "debug"),
        *("test.mock.num.brokers", "allow.auto.create.topics", "log_level", "statistics.interval.ms", "unknown", "xbootstrap.servers"),
    ],
)
def test_what_would_break_something_is_refused_without_its_value(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(monkeypatch, {"main": {"bootstrap.servers": "kafka:9092", name: SECRET}})
    assert repr(name) in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("clusters", [[], {"main": SECRET}, {"main": {"sasl.password": SECRET}}, {"main": {"bootstrap.servers": [SECRET]}}])
def test_what_is_no_set_of_clusters_is_refused_without_its_value(monkeypatch: pytest.MonkeyPatch, clusters: object) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(monkeypatch, clusters)
    assert SECRET not in str(caught.value)
