"""Serves features: the hot path, so that what does not depend on the rows is worked out before, in the plan."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from mlops.features.v1 import feature_serving_service_pb2 as pb

from servers.features.online import Column, OnlineStore, ViewRead, ViewRows, entity_keys, read_views
from servers.features.serving.given_rows import given_columns
from servers.features.serving.plans import ServingPlan, ServingPlans
from servers.features.serving.served_values import add_times, fill_of

__all__ = ["Serving"]

_LOGGER = logging.getLogger(__name__)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PRESENT: pb.ValueStatus.ValueType = pb.VALUE_STATUS_PRESENT
_NULL = pb.VALUE_STATUS_NULL


class Serving:
    """Serves features of entities.

    Args:
        plans: Say what requests mean.
        store: Has the vectors.
        max_rows: Most rows of a call.
        clock: The time from which ages are counted.
    """

    def __init__(
        self, plans: ServingPlans, store: OnlineStore, *, max_rows: int = 1000, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._plans = plans
        self._store = store
        self._max_rows = max_rows
        self._clock = clock

    def serve(self, project: str, request: pb.ServeFeaturesRequest) -> pb.ServeFeaturesResponse:
        """Returns the newest features of entities. Messages go in and out: values are copied once, into the answer.

        Args:
            project: Of the views.
            request: What is wanted, of which entities.

        Raises:
            InvalidEntities: INVALID_ARGUMENT: the entities or request inputs are not those that are needed.
            TooManyServedRows: INVALID_ARGUMENT.
            OnDemandFeatureFailed: FAILED_PRECONDITION: an expression cannot be computed of these values.
            OnlineStoreUnavailable: UNAVAILABLE.
            DomainError: What is wanted is not there or cannot be served; see `ServingPlans.plan`.
        """
        plan = self._plans.plan(project, request.feature_service, request.feature_service_version, request.selections)
        rows, join_keys, inputs = given_columns(
            request.entities, plan.join_keys, request.request_inputs, plan.request_inputs, self._max_rows
        )
        found = self._read(plan, join_keys)
        answer = pb.ServeFeaturesResponse()
        answer.CopyFrom(plan.answer)
        features = iter(answer.features)
        all_present = [_PRESENT] * rows
        for read, view in zip(plan.reads, found, strict=True):
            statuses = None if (view.statuses == _PRESENT).all() else view.statuses.tolist()
            times = _event_times(view) if request.include_event_times else b""
            for column in read.columns:
                feature = next(features)
                own = all_present if statuses is None else statuses[column.place]
                column.fill(feature.values, view.columns[column.name], statuses is not None and own != all_present)
                feature.statuses.extend(own)
                if times:
                    feature.MergeFromString(times)
        if plan.on_demand:
            for feature, values in zip(features, _on_demand(plan, found, inputs), strict=True):
                fill_of(values.type)(feature.values, values, bool(values.is_null.any()))
                feature.statuses.extend(np.where(values.is_null, _NULL, _PRESENT).tolist())
        return answer

    def _read(self, plan: ServingPlan, join_keys: Mapping[str, Any]) -> list[ViewRows]:
        keys = [entity_keys(each.join_keys, [join_keys[name] for name in each.names]) for each in plan.keys]
        reads = [ViewRead(read.view, read.schema, keys[read.keys], read.max_age_us) for read in plan.reads]
        found = read_views(self._store, reads, (self._clock() - _EPOCH) // _MICROSECOND)
        for read, view in zip(plan.reads, found, strict=True):
            if view.foreign_rows:
                _LOGGER.error("%d vectors of %s have another schema, or were cut", view.foreign_rows, read.view)
        return found


def _event_times(view: ViewRows) -> bytes:
    """The event times as every feature of a view has them. Messages are dear to make and cheap to read."""
    times = pb.ServedFeature()
    add_times(times.event_times, view.event_times_us)
    return times.SerializeToString()


def _on_demand(plan: ServingPlan, found: Sequence[ViewRows], inputs: Mapping[str, Any]) -> list[Column]:
    from servers.features.serving.on_demand import on_demand_columns

    served = {
        column.served_name: view.columns[column.name] for read, view in zip(plan.reads, found, strict=True) for column in read.columns
    }
    return on_demand_columns(plan.on_demand, plan.request_inputs, served, inputs)
