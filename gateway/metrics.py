"""Envoy's statistics among the metrics of the gateway, so that one question gives those of both."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from gateway.admin import Admin, AdminError


class _EnvoyCollector(Collector):
    """Reads Envoy's statistics whenever the metrics are asked for."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: what there is depends on the configuration in force."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All counters, gauges and histograms; none while Envoy does not answer, which its health tells."""
        try:
            text = self._admin.metrics()
        except AdminError:
            return
        yield from text_string_to_metric_families(text)


def envoy_metrics(admin: Admin) -> CollectorRegistry:
    """Returns a registry with Envoy's statistics.

    Args:
        admin: Envoy's admin interface.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_EnvoyCollector(admin))
    return registry
