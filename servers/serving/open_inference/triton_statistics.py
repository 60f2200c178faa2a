"""Statistics of a version in Triton's terms.

An *inference* is a row, an *execution* a run of the model. A duration counts what it is about and sums the times, so that `ns / count` is
a mean: predictions for success and queue, runs for everything that is said of runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlops.serving.v1 import served_model_pb2

from servers.serving.open_inference import contract

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Duration:
    """How often something was done, and how long that took together.

    Args:
        count: How often.
        total_ms: Sum of the times, in milliseconds.
    """

    count: int = 0
    total_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Runs of one size.

    Args:
        rows: Rows a run.
        runs: The runs.
    """

    rows: int
    runs: Duration


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """What Triton's `ModelStatistics` has room for, as far as this server measures it.

    Args:
        name: Name of the model.
        version: Version number.
        last_inference_ms: When the last prediction was answered, in milliseconds since 1970; 0 before the first.
        rows: Rows over all answered predictions.
        success: Predictions answered: their wait, and their share of runs.
        fail: Predictions refused or failed.
        queue: Waiting for a run, over answered predictions.
        runs: Runs of the model.
        batches: Runs by their size.
        size_bytes: Size of the model's file.
    """

    name: str
    version: int
    last_inference_ms: int = 0
    rows: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    runs: Duration = field(default_factory=Duration)
    batches: tuple[BatchCounts, ...] = ()
    size_bytes: int = 0


def counts_of(model: served_model_pb2.ServedModel) -> ModelCounts:
    """Reads the counts of a version."""
    counted = model.statistics
    queued_ms = counted.queue_duration.total_ms
    return ModelCounts(
        name=model.name,
        version=model.version,
        last_inference_ms=counted.last_predict_time.ToMilliseconds() if counted.HasField("last_predict_time") else 0,
        rows=counted.row_count,
        success=Duration(counted.success_count, queued_ms + counted.compute_ms),
        fail=Duration(counted.failure_count),
        queue=Duration(sum(counted.queue_duration.counts), queued_ms),
        runs=Duration(counted.run_count, counted.compute_ms),
        batches=tuple(BatchCounts(size.rows, Duration(size.run_count, size.compute_ms)) for size in counted.batch_sizes),
        size_bytes=model.size_bytes,
    )


def model_statistics(counts: Sequence[ModelCounts]) -> Any:
    """Writes a `ModelStatisticsResponse`."""
    return contract.ModelStatisticsResponse(model_stats=map(_message, counts))


def _message(counts: ModelCounts) -> Any:
    message = contract.ModelStatistics(
        name=counts.name,
        version=str(counts.version),
        last_inference=counts.last_inference_ms,
        inference_count=counts.rows,
        execution_count=counts.runs.count,
    )
    inference = message.inference_stats
    inference.success.CopyFrom(_duration(counts.success))
    inference.fail.CopyFrom(_duration(counts.fail))
    inference.queue.CopyFrom(_duration(counts.queue))
    inference.compute_infer.CopyFrom(_duration(counts.runs))
    # Inputs are handed over, and outputs taken, within the run: Triton's two other parts of it have a count and no time.
    inference.compute_input.count = inference.compute_output.count = counts.runs.count
    for batch in counts.batches:
        written = message.batch_stats.add(batch_size=batch.rows, compute_infer=_duration(batch.runs))
        written.compute_input.count = written.compute_output.count = batch.runs.count
    message.memory_usage.add(type="CPU", byte_size=counts.size_bytes)
    return message


def _duration(duration: Duration) -> Any:
    return contract.StatisticDuration(count=duration.count, ns=round(duration.total_ms * _NS_PER_MS))
