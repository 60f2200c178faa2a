"""What serving counts, for Prometheus."""

from __future__ import annotations

import threading
from collections import Counter as Counts

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from servers.serving.model_source import SourceVersion

_BUCKETS_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LABELS = ("project", "model", "version")


class VersionMetrics:
    """The series of one version, looked up once.

    Args:
        metrics: All metrics of serving.
        source: The version.
    """

    def __init__(self, metrics: ServingMetrics, source: SourceVersion) -> None:
        labels = _labels(source)
        self._success = metrics.predictions.labels(*labels, "success")
        self._failure = metrics.predictions.labels(*labels, "failure")
        self._rows = metrics.rows.labels(*labels)
        self._run = metrics.run_seconds.labels(*labels)

    def answered(self, rows: int, compute_s: float) -> None:
        """Counts a prediction that was answered."""
        self._success.inc()
        self._rows.inc(rows)
        self._run.observe(compute_s)

    def failed(self) -> None:
        """Counts a prediction that was refused or failed."""
        self._failure.inc()


class ServingMetrics:
    """The metrics of serving.

    Args:
        registry: Where they are exposed.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.predictions = Counter(
            "mlmesh_serving_predictions", "Predictions by model and outcome.", (*_LABELS, "outcome"), registry=registry
        )
        self.rows = Counter("mlmesh_serving_rows", "Rows predicted.", _LABELS, registry=registry)
        self.run_seconds = Histogram(
            "mlmesh_serving_run_seconds", "Time of one run in ONNX Runtime, in seconds.", _LABELS, registry=registry, buckets=_BUCKETS_S
        )
        self.loads = Counter("mlmesh_serving_loads", "Loads of models by outcome.", ("outcome",), registry=registry)
        self.load_seconds = Histogram("mlmesh_serving_load_seconds", "Time to fetch, load and warm a model, in seconds.", registry=registry)
        self.ready_models = Gauge("mlmesh_serving_ready_models", "Versions that answer predictions.", registry=registry)
        self._lock = threading.Lock()
        self._users: Counts[tuple[str, str, str]] = Counts()

    def version(self, source: SourceVersion) -> VersionMetrics:
        """The series of one version. Each call wants a `forget` when the version has left memory."""
        with self._lock:
            self._users[_labels(source)] += 1
            return VersionMetrics(self, source)

    def forget(self, source: SourceVersion) -> None:
        """Drops the series of a version that was unloaded and is not loaded again already, so that they do not pile up."""
        labels = _labels(source)
        with self._lock:
            self._users[labels] -= 1
            if self._users[labels] > 0:
                return
            del self._users[labels]
            for outcome in ("success", "failure"):
                self.predictions.remove(*labels, outcome)
            self.rows.remove(*labels)
            self.run_seconds.remove(*labels)


def _labels(source: SourceVersion) -> tuple[str, str, str]:
    return source.project, source.name, str(source.version)
