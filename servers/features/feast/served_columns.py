"""Values of a served feature as a list of what Feast has for its type."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any

from mlops.features.v1 import feature_serving_service_pb2 as pb

__all__ = ["PRESENT", "plain_values"]

PRESENT: pb.ValueStatus.ValueType = pb.VALUE_STATUS_PRESENT


def plain_values(feature: pb.ServedFeature) -> list[Any]:
    """Returns the values of a feature, one a row; those that are not PRESENT say nothing.

    Times are whole seconds since 1970-01-01 UTC, as Feast has them; dates and decimals are texts.
    """
    kind = feature.values.WhichOneof("kind")
    if kind == "list_values":
        return _lists(feature.values.list_values)
    if kind == "timestamp_values":
        return [time.seconds for time in feature.values.timestamp_values.values]
    return list(getattr(feature.values, kind).values) if kind else []


def _lists(lists: pb.ListValues) -> list[Any]:
    kind = lists.WhichOneof("elements")
    elements = list(getattr(lists, kind).values) if kind else []
    return [elements[start:end] for start, end in pairwise(accumulate(lists.lengths, initial=0))]
