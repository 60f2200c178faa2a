"""What can be wrong with a call that serves or pushes features."""

from __future__ import annotations

from servers.runtime.errors import FailedPrecondition, InvalidArgument

__all__ = [
    "EventTimeInFuture",
    "InvalidEntities",
    "InvalidOnDemandFeature",
    "InvalidPushedRows",
    "OnDemandFeatureFailed",
    "PushTargetNotPossible",
    "TooManyPushedRows",
    "TooManyServedRows",
    "ViewIsOfflineOnly",
]


class InvalidEntities(InvalidArgument):
    """Join keys or request inputs are missing, unknown, of another type, or not equally many.

    Args:
        field: `entities` or `request_inputs`.
        message: What is wrong, what is allowed and what to do.
    """

    reason = "INVALID_ENTITIES"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", field_violations=[(field, message)])


class TooManyServedRows(InvalidArgument):
    """More rows were asked for than one call serves."""

    reason = "TOO_MANY_SERVED_ROWS"

    def __init__(self, rows: int, most: int) -> None:
        super().__init__(
            f"entities: {rows:,} rows are asked for; a call serves at most {most:,} (MLMESH_FEATURES_MAX_SERVED_ROWS); make several calls",
            metadata={"rows": str(rows), "most": str(most)},
        )


class ViewIsOfflineOnly(FailedPrecondition):
    """A view is not kept in the online store."""

    reason = "FEATURE_VIEW_IS_OFFLINE_ONLY"

    def __init__(self, view: str, version: int) -> None:
        message = (
            f"version {version} of view {view!r} is kept offline alone: it is not served, and takes no rows online. "
            "Use it in training sets and push with the target PUSH_TARGET_OFFLINE, or make a version of it without `offline_only`"
        )
        super().__init__(message, metadata={"view": view, "version": str(version)}, preconditions=[("FEATURE_VIEW", view, message)])


class InvalidOnDemandFeature(InvalidArgument):
    """The expression of an on-demand feature is no scalar expression that always has the same value.

    Args:
        feature: Its name.
        message: What is wrong, what is allowed and what to do.
    """

    reason = "INVALID_ON_DEMAND_FEATURE"

    def __init__(self, feature: str, message: str) -> None:
        super().__init__(f"on-demand feature {feature!r}: {message}", metadata={"feature": feature})


class OnDemandFeatureFailed(FailedPrecondition):
    """On-demand features cannot be computed of the values that there are."""

    reason = "ON_DEMAND_FEATURE_FAILED"

    def __init__(self, message: str) -> None:
        super().__init__(
            f"on-demand features cannot be computed of these values: {message}; "
            "change the request inputs, or make a version of the service whose expressions allow for them (with TRY_CAST, for example)"
        )


class InvalidPushedRows(InvalidArgument):
    """Pushed rows are not as the view has them.

    Args:
        message: What is wrong, what is allowed and what to do.
        row: Number of the row, from 0; None where it is about all of them.
        column: Of the row.
    """

    reason = "INVALID_PUSHED_ROWS"

    def __init__(self, message: str, *, row: int | None = None, column: str | None = None) -> None:
        place = ", ".join([f"row {row}"] * (row is not None) + [f"column {column!r}"] * (column is not None))
        facts = {"row": None if row is None else str(row), "column": column}
        super().__init__(f"{place}: {message}" if place else message, metadata={key: value for key, value in facts.items() if value})


class TooManyPushedRows(InvalidArgument):
    """A push has more rows than it may have."""

    reason = "TOO_MANY_PUSHED_ROWS"

    def __init__(self, rows: int, most: int) -> None:
        super().__init__(
            f"{rows:,} rows are pushed; a push has at most {most:,} (MLMESH_FEATURES_MAX_PUSHED_ROWS). Push them in parts, or ingest them "
            "into the dataset of the view and materialise it",
            metadata={"rows": str(rows), "most": str(most)},
        )


class EventTimeInFuture(InvalidArgument):
    """A time of a pushed row is later than now: the row would win against all that comes until then."""

    reason = "EVENT_TIME_IN_FUTURE"

    def __init__(self, row: int, column: str, time: str, max_future_s: float) -> None:
        super().__init__(
            f"row {row}, column {column!r}: {time} is more than {max_future_s:g} s in the future (MLMESH_FEATURES_MAX_FUTURE_S), and would "
            "win against all rows until then; check its unit and zone, and the sender's clock",
            metadata={"row": str(row), "column": column},
        )


class PushTargetNotPossible(FailedPrecondition):
    """A view does not take rows where a push wants them."""

    reason = "PUSH_TARGET_NOT_POSSIBLE"

    def __init__(self, view: str, version: int) -> None:
        message = (
            f"the rows of version {version} of view {view!r} are computed, so none can be pushed into its dataset; "
            "use the target PUSH_TARGET_ONLINE, or write into the datasets that it is computed from"
        )
        super().__init__(message, metadata={"view": view, "version": str(version)}, preconditions=[("FEATURE_VIEW", view, message)])
