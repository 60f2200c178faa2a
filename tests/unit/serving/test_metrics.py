from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from servers.serving.batch_queue import NO_DEADLINE, Batch, CloseReason, WaitingCall
from servers.serving.metrics import ServingMetrics
from servers.serving.model_source import SourceVersion
from servers.serving.statistics import Statistics

VERSION = SourceVersion("default", "flights", 3, "onnx", "model.onnx", ())
LABELS = {"project": "default", "model": "flights", "version": "3"}


def run(statistics: Statistics, rows: int, run_s: float = 0.002, calls: int = 1) -> None:
    waiting = tuple(WaitingCall({}, (0,), rows, NO_DEADLINE, 10.0, None) for _ in range(calls))  # type: ignore[arg-type]
    statistics.ran(Batch(waiting, rows * calls, CloseReason.ROW_CAP), 10.0003, run_s, is_answer=True)


@pytest.fixture
def registry():
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def metrics(registry):
    return ServingMetrics(registry)


def test_predictions_and_runs_are_counted_by_version(registry, metrics):
    statistics = metrics.version(VERSION)
    run(statistics, 10, 0.002)
    run(statistics, 5, 0.001, calls=2)
    statistics.failed()
    statistics.refused()
    statistics.abandoned()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"mlmesh_serving_{name}", {**LABELS, **labels})

    assert value("predictions_total", outcome="success") == 3
    assert value("predictions_total", outcome="failure") == 1
    assert value("refused_total") == value("abandoned_total") == 1
    assert value("rows_total") == 20
    assert (value("run_seconds_count"), value("run_seconds_sum")) == (2, pytest.approx(0.003))
    assert (value("run_seconds_bucket", le="0.001"), value("run_seconds_bucket", le="+Inf")) == (1, 2)
    assert (value("queue_seconds_count"), value("queue_seconds_bucket", le="0.00025"), value("queue_seconds_bucket", le="0.0005")) == (
        3,
        0,
        3,
    )
    assert (value("batch_rows_count"), value("batch_rows_sum"), value("batch_rows_bucket", le="8.0")) == (2, 20, 0)
    assert value("batches_closed_total", reason="row_cap") == 2
    assert value("batches_closed_total", reason="deadline") == 0


def test_the_series_of_an_unloaded_version_go(registry, metrics):
    statistics = metrics.version(VERSION)
    run(statistics, 1)

    metrics.forget(VERSION, statistics)

    assert registry.get_sample_value("mlmesh_serving_rows_total", LABELS) is None
    assert b"flights" not in generate_latest(registry)


def test_the_series_of_a_version_that_was_loaded_again_before_the_old_one_went_never_fall(registry, metrics):
    older, newer = metrics.version(VERSION), metrics.version(VERSION)
    run(older, 2)
    run(newer, 3)
    assert registry.get_sample_value("mlmesh_serving_rows_total", LABELS) == 5

    metrics.forget(VERSION, older)
    run(newer, 1)

    assert registry.get_sample_value("mlmesh_serving_rows_total", LABELS) == 6
