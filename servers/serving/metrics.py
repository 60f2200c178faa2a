"""What serving counts, for Prometheus.

A prediction touches no metric: the series of a version are made from its statistics when somebody asks for them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from servers.serving.batch_queue import CloseReason
from servers.serving.model_source import SourceVersion
from servers.serving.statistics import DURATION_BOUNDS_S, DurationHistogram, Statistics, StatisticsView, together

_LABELS = ("project", "model", "version")
_ROW_BOUNDS = tuple(1 << power for power in range(15))

_Labels = tuple[str, str, str]


class ServingMetrics(Collector):
    """The metrics of serving.

    Args:
        registry: Where they are exposed.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.loads = Counter("mlmesh_serving_loads", "Loads of models by outcome.", ("outcome",), registry=registry)
        self.load_seconds = Histogram("mlmesh_serving_load_seconds", "Time to fetch, load and warm a model, in seconds.", registry=registry)
        self.ready_models = Gauge("mlmesh_serving_ready_models", "Versions that answer predictions.", registry=registry)
        self._lock = threading.Lock()
        self._living: dict[_Labels, list[Statistics]] = {}
        self._departed: dict[_Labels, StatisticsView] = {}
        registry.register(self)

    def version(self, source: SourceVersion) -> Statistics:
        """Begins to count for a version. Wants a `forget` when it has left memory."""
        statistics = Statistics()
        with self._lock:
            self._living.setdefault(_labels(source), []).append(statistics)
        return statistics

    def forget(self, source: SourceVersion, statistics: Statistics) -> None:
        """Drops the series of a version that was unloaded, so that they do not pile up.

        Where it is loaded again already, its series go on from what they were, since a counter never falls.
        """
        labels = _labels(source)
        with self._lock:
            living = self._living.get(labels, [])
            if statistics in living:
                living.remove(statistics)
            if living:
                self._departed[labels] = together([self._departed.get(labels, StatisticsView()), statistics.view()])
                return
            self._living.pop(labels, None)
            self._departed.pop(labels, None)

    def describe(self) -> Iterable[Metric]:
        """The names, for the registry's check of duplicates."""
        return self._families({})

    def collect(self) -> Iterable[Metric]:
        """The series now."""
        with self._lock:
            generations = {labels: (self._departed.get(labels), list(living)) for labels, living in self._living.items()}
        return self._families(
            {
                labels: together([*([departed] if departed else []), *(statistics.view() for statistics in living)])
                for labels, (departed, living) in generations.items()
            }
        )

    def _families(self, views: dict[_Labels, StatisticsView]) -> list[Metric]:
        predictions = CounterMetricFamily("mlmesh_serving_predictions", "Predictions by model and outcome.", labels=(*_LABELS, "outcome"))
        refused = CounterMetricFamily(
            "mlmesh_serving_refused", "Predictions refused because too many waited or their time did not suffice.", labels=_LABELS
        )
        abandoned = CounterMetricFamily(
            "mlmesh_serving_abandoned",
            "Predictions that were not run to the end since their callers had left.",
            labels=_LABELS,
        )
        rows = CounterMetricFamily("mlmesh_serving_rows", "Rows predicted.", labels=_LABELS)
        closed = CounterMetricFamily("mlmesh_serving_batches_closed", "Runs by why they took no further call.", labels=(*_LABELS, "reason"))
        runs = HistogramMetricFamily("mlmesh_serving_run_seconds", "Time of one run in ONNX Runtime, in seconds.", labels=_LABELS)
        queue = HistogramMetricFamily(
            "mlmesh_serving_queue_seconds", "Time that a prediction waited for its run, in seconds.", labels=_LABELS
        )
        sizes = HistogramMetricFamily("mlmesh_serving_batch_rows", "Rows of one run.", labels=_LABELS)
        for labels, view in views.items():
            predictions.add_metric((*labels, "success"), view.success_count)
            predictions.add_metric((*labels, "failure"), view.failure_count)
            refused.add_metric(labels, view.refused_count)
            abandoned.add_metric(labels, view.abandoned_count)
            rows.add_metric(labels, view.row_count)
            for reason in CloseReason:
                closed.add_metric((*labels, reason.value.lower()), view.close_reasons.get(reason, 0))
            runs.add_metric(labels, _duration_buckets(view.run_times), view.run_times.total_s)
            queue.add_metric(labels, _duration_buckets(view.queue_times), view.queue_times.total_s)
            sizes.add_metric(labels, _row_buckets(view), sum(size.rows * size.run_count for size in view.batch_sizes))
        return [predictions, refused, abandoned, rows, closed, runs, queue, sizes]


def _duration_buckets(histogram: DurationHistogram) -> list[tuple[str, float]]:
    bounds = [*map(str, DURATION_BOUNDS_S), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


def _row_buckets(view: StatisticsView) -> list[tuple[str, float]]:
    bounds = (*_ROW_BOUNDS, float("inf"))
    counts = [(bound, sum(size.run_count for size in view.batch_sizes if size.rows <= bound)) for bound in bounds]
    return [("+Inf" if bound == float("inf") else str(float(bound)), count) for bound, count in counts]


def _labels(source: SourceVersion) -> _Labels:
    return source.project, source.name, str(source.version)
