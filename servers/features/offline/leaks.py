"""What a training set would know too early, and what it does not know at all.

A leak is a value that was true at the label time and that nobody had yet. The plan makes the training set twice, with and without the rule
about write times, and counts where they differ. Each view has an output of its own, with one row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlops.processing.v1 import plan_pb2 as pb

from servers.features.offline.lookup import values
from servers.features.offline.matching import FOUND
from servers.features.offline.relations import PlacedView, placed_view, spine_relation
from servers.features.offline.retrieval import inputs_of, joined, status
from servers.features.offline.specification import FeatureView, TrainingSet, check
from servers.features.offline.steps import aggregate, cross_join, project, scan
from servers.runtime.sql_names import quoted

_QUANTILES = (0.5, 0.9, 0.99, 1.0)


@dataclass(frozen=True)
class FeatureLeaks:
    """What is known about the values of one feature.

    Args:
        name: In the training set.
        changed_rows: Rows of the spine that would have another value if write times did not count.
        null_rows: Rows of the spine without a value.
    """

    name: str
    changed_rows: int
    null_rows: int


@dataclass(frozen=True)
class ViewLeaks:
    """What is known about one view.

    Args:
        view: Its name.
        rows: Of the spine.
        not_found_rows: Those for which nothing was found.
        outside_max_age_rows: Those for which what was found is too old.
        before_first_rows: Those with a label time before anything was available of the view, whatever the key.
        after_newest_rows: Those with a label time after the newest event of the view: it may have ended before.
        changed_rows: Those for which another event would be found if write times did not count.
        view_rows: Of the view.
        late_view_rows: Those that were written after their event; 0 if the view has no write times.
        write_delay_s: By share, such as 0.9, the seconds within which that share of the view's rows was written after their event; empty
            if the view has no write times, or no rows.
        features: In the order of the view.
    """

    view: str
    rows: int
    not_found_rows: int
    outside_max_age_rows: int
    before_first_rows: int
    after_newest_rows: int
    changed_rows: int
    view_rows: int
    late_view_rows: int
    write_delay_s: Mapping[float, float]
    features: tuple[FeatureLeaks, ...]


@dataclass(frozen=True)
class LeakPlan:
    """How the report is made.

    Args:
        plan: For a processing job.
        outputs: Name of each view's step, with one row, by the view's name.
        inputs: Names of the inputs that the job needs.
        views: What the report is about.
    """

    plan: pb.Plan
    outputs: Mapping[str, str]
    inputs: tuple[str, ...]
    views: tuple[FeatureView, ...]


def leak_plan(training_set: TrainingSet) -> LeakPlan:
    """Returns the plan of a training set's leak report.

    Raises:
        InvalidTrainingSet: INVALID_ARGUMENT: the specification cannot be used.
    """
    check(training_set)
    steps: list[pb.Step] = []
    outputs: dict[str, str] = {}
    for number, view in enumerate(training_set.views):
        more = _view_steps(replace(training_set, views=(view,)), number)
        steps += more
        outputs[view.name] = more[-1].name
    return LeakPlan(pb.Plan(steps=steps, outputs=outputs.values()), outputs, inputs_of(training_set), training_set.views)


def leak_report(plan: LeakPlan, rows: Mapping[str, Mapping[str, Any]]) -> tuple[ViewLeaks, ...]:
    """Reads the outputs of a leak plan.

    Args:
        plan: Of the report.
        rows: The row of each output, by the name of the step.
    """
    return tuple(_view_leaks(view, rows[plan.outputs[view.name]]) for view in plan.views)


def _view_leaks(view: FeatureView, row: Mapping[str, Any]) -> ViewLeaks:
    names = [view.feature_name(feature) for feature in view.features]
    delays = row.get("write_delay_s")
    return ViewLeaks(
        view=view.name,
        rows=row["rows"],
        not_found_rows=row["not_found"],
        outside_max_age_rows=row["outside_max_age"],
        before_first_rows=row["before_first"],
        after_newest_rows=row["after_newest"],
        changed_rows=row["changed"],
        view_rows=row["view_rows"],
        late_view_rows=row["late"],
        write_delay_s=dict(zip(_QUANTILES, delays, strict=True)) if delays else {},
        features=tuple(FeatureLeaks(name, row[f"changed{place}"], row[f"null{place}"]) for place, name in enumerate(names)),
    )


def _view_steps(training_set: TrainingSet, number: int) -> list[pb.Step]:
    """Steps of the report on the one view of a training set."""
    view = training_set.views[0]
    steps, rows, spine = spine_relation(training_set, f"spine{number}")
    label_time = training_set.spine.label_time
    strict = placed_view(view, f"v{number}", spine, label_time)
    placed = [strict]
    if view.is_bitemporal:
        placed.append(placed_view(replace(view, counts_writes=False), f"w{number}", spine, label_time))
    more, rows = joined(placed, rows)
    known, counted, beside = strict.step("known"), strict.step("counted"), strict.step("beside")
    return [
        *steps,
        *more,
        *_history_steps(strict, known),
        cross_join(beside, rows.step, known),
        aggregate(counted, beside, (), _counts(placed)),
        cross_join(strict.step("report"), counted, known),
    ]


def _history_steps(placed: PlacedView, name: str) -> list[pb.Step]:
    """One row about the view's own rows."""
    view, read, times = placed.view, placed.step("history_read"), placed.step("history_times")
    event, written = quoted(placed.column("event")), quoted(placed.column("write"))
    columns = {placed.column("event"): view.event_time} | ({placed.column("write"): view.write_time} if view.write_time else {})
    available = f"CASE WHEN {written} IS NOT NULL AND {event} IS NOT NULL THEN greatest({event}, {written}) END"
    counts = {"view_rows": "count(*)", "newest_event": f"max({event})"}
    counts["first_available"] = f"min({available})" if view.is_bitemporal else f"min({event})"
    if view.write_time:
        # In 128 bits, since the difference of two 64-bit times may not fit.
        delay_s = " - ".join(f"CAST(epoch_us({time}) AS HUGEINT)" for time in (written, event))
        counts["late"] = f"count(*) FILTER (WHERE {written} > {event})"
        counts["write_delay_s"] = f"quantile_disc(CAST({delay_s} AS DOUBLE) / 1000000, [{', '.join(map(str, _QUANTILES))}])"
    else:
        counts["late"] = "count(*) FILTER (WHERE false)"
    return [
        scan(read, view.input, columns.values()),
        project(times, read, {name: quoted(each) for name, each in columns.items()}),
        aggregate(name, times, (), counts),
    ]


def _counts(placed: list[PlacedView]) -> dict[str, str]:
    """Aggregations over the rows of the spine, beside the history."""
    strict, other = placed[0], placed[-1]
    label, found = quoted(strict.label_time), status(strict)
    counts = {
        "rows": "true",
        "not_found": f"{found} = 'NOT_FOUND'",
        "outside_max_age": f"{found} = 'OUTSIDE_MAX_AGE'",
        "before_first": f"{label} < first_available",
        "after_newest": f"{label} > newest_event",
        "changed": f"{quoted(strict.column(FOUND))} IS DISTINCT FROM {quoted(other.column(FOUND))}",
    }
    for place, (value, leaked) in enumerate(zip(values(strict), values(other), strict=True)):
        counts[f"changed{place}"] = f"({value}) IS DISTINCT FROM ({leaked})"
        counts[f"null{place}"] = f"({value}) IS NULL"
    return {name: f"count(*) FILTER (WHERE {condition})" for name, condition in counts.items()}
