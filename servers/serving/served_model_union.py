"""One entry a version out of what several workers say of it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from mlops.serving.v1 import served_model_pb2 as pb

_BY_NEED_OF_ATTENTION = (
    pb.SERVED_MODEL_STATE_FAILED,
    pb.SERVED_MODEL_STATE_LOADING,
    pb.SERVED_MODEL_STATE_READY,
    # Somebody predicts with it still, which is nobody's trouble, and the others may be READY.
    pb.SERVED_MODEL_STATE_UNLOADING,
)


def union(models_by_worker: Mapping[int, Iterable[pb.ServedModel]]) -> list[pb.ServedModel]:
    """Joins the lists of several workers.

    Args:
        models_by_worker: What each worker, by number, has of one project.

    Returns:
        One entry a version, in no particular order.
    """
    found: defaultdict[tuple[str, int], list[tuple[int, pb.ServedModel]]] = defaultdict(list)
    for worker, models in sorted(models_by_worker.items()):
        for model in models:
            found[model.name, model.version].append((worker, model))
    return [_joined(entries, len(models_by_worker)) for entries in found.values()]


def _joined(entries: Sequence[tuple[int, pb.ServedModel]], worker_count: int) -> pb.ServedModel:
    """Joins what workers say of one version: the state that needs attention most, and all that was done."""
    models = [model for _, model in entries]
    joined = min(models, key=lambda model: _BY_NEED_OF_ATTENTION.index(model.state))
    loaded = next((model for model in models if model.digest), joined)
    union_of = pb.ServedModel(
        name=joined.name,
        version=joined.version,
        project=joined.project,
        digest=loaded.digest,
        state=joined.state,
        error=_reasons(entries, worker_count),
        signature=loaded.signature if loaded.HasField("signature") else None,
        load_duration_ms=max(model.load_duration_ms for model in models),
        size_bytes=max(model.size_bytes for model in models),
        statistics=_sum([model.statistics for model in models]),
    )
    times = [model.load_time for model in models if model.HasField("load_time")]
    if times:
        union_of.load_time.CopyFrom(max(times, key=lambda time: time.ToNanoseconds()))
    return union_of


def _reasons(entries: Sequence[tuple[int, pb.ServedModel]], worker_count: int) -> str:
    """Why it is FAILED: said once where it is so everywhere, and else with the numbers of the workers."""
    errors = {worker: model.error for worker, model in entries if model.error}
    if len(errors) == worker_count and len(set(errors.values())) == 1:
        return next(iter(errors.values()))
    return "; ".join(f"worker {worker}: {error}" for worker, error in errors.items())


def _sum(parts: Sequence[pb.ServingStatistics]) -> pb.ServingStatistics:
    total = pb.ServingStatistics(
        success_count=sum(part.success_count for part in parts),
        failure_count=sum(part.failure_count for part in parts),
        row_count=sum(part.row_count for part in parts),
        compute_ms=sum(part.compute_ms for part in parts),
        refused_count=sum(part.refused_count for part in parts),
        abandoned_count=sum(part.abandoned_count for part in parts),
        run_count=sum(part.run_count for part in parts),
        batch_sizes=_batch_sizes(parts),
        batch_closes=_batch_closes(parts),
        no_sharing_reason=next((part.no_sharing_reason for part in parts if part.no_sharing_reason), ""),
    )
    for field in ("queue_duration", "run_duration"):
        histograms = [getattr(part, field) for part in parts if part.HasField(field)]
        if histograms:
            getattr(total, field).CopyFrom(_histogram(histograms))
    times = [part.last_predict_time for part in parts if part.HasField("last_predict_time")]
    if times:
        total.last_predict_time.CopyFrom(max(times, key=lambda time: time.ToNanoseconds()))
    return total


def _histogram(parts: Sequence[pb.DurationHistogram]) -> pb.DurationHistogram:
    counts: Counter[float] = Counter()
    for part in parts:
        for bound, count in zip((*part.bounds_ms, math.inf), part.counts, strict=False):
            counts[bound] += count
    bounds = sorted(counts)
    return pb.DurationHistogram(
        bounds_ms=[bound for bound in bounds if bound != math.inf],
        counts=[counts[bound] for bound in bounds],
        total_ms=sum(part.total_ms for part in parts),
    )


def _batch_sizes(parts: Sequence[pb.ServingStatistics]) -> list[pb.BatchSizeStatistics]:
    by_rows: dict[int, pb.BatchSizeStatistics] = {}
    for size in (size for part in parts for size in part.batch_sizes):
        known = by_rows.setdefault(size.rows, pb.BatchSizeStatistics(rows=size.rows))
        known.run_count += size.run_count
        known.compute_ms += size.compute_ms
    return [by_rows[rows] for rows in sorted(by_rows)]


def _batch_closes(parts: Sequence[pb.ServingStatistics]) -> list[pb.BatchCloseStatistics]:
    counts: Counter[pb.BatchCloseReason.ValueType] = Counter()
    for close in (close for part in parts for close in part.batch_closes):
        counts[close.reason] += close.run_count
    return [pb.BatchCloseStatistics(reason=reason, run_count=count) for reason, count in counts.most_common()]
