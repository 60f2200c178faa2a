from __future__ import annotations

from prometheus_client import CollectorRegistry

from servers.serving.metrics import ServingMetrics
from servers.serving.model_source import SourceVersion

VERSION = SourceVersion("default", "flights", 3, "onnx", "model.onnx", ())
LABELS = {"project": "default", "model": "flights", "version": "3"}


def test_predictions_are_counted_by_version_and_outcome():
    registry = CollectorRegistry()
    series = ServingMetrics(registry).version(VERSION)
    series.answered(10, 0.002)
    series.answered(5, 0.001)
    series.failed()

    assert registry.get_sample_value("mlmesh_serving_predictions_total", {**LABELS, "outcome": "success"}) == 2
    assert registry.get_sample_value("mlmesh_serving_predictions_total", {**LABELS, "outcome": "failure"}) == 1
    assert registry.get_sample_value("mlmesh_serving_rows_total", LABELS) == 15
    assert registry.get_sample_value("mlmesh_serving_run_seconds_count", LABELS) == 2


def test_the_series_of_an_unloaded_version_go():
    registry = CollectorRegistry()
    metrics = ServingMetrics(registry)
    metrics.version(VERSION).answered(1, 0.001)

    metrics.forget(VERSION)

    assert registry.get_sample_value("mlmesh_serving_rows_total", LABELS) is None


def test_a_version_that_was_loaded_again_before_the_old_one_went_keeps_its_series():
    registry = CollectorRegistry()
    metrics = ServingMetrics(registry)
    metrics.version(VERSION)
    newer = metrics.version(VERSION)

    metrics.forget(VERSION)
    newer.answered(1, 0.001)

    assert registry.get_sample_value("mlmesh_serving_rows_total", LABELS) == 1
