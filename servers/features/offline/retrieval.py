"""The plan that makes a training set."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mlops.processing.v1 import plan_pb2 as pb

from servers.features.offline.lookup import history, looked_up, values
from servers.features.offline.matching import FOUND, SINGLE, TIED, as_of, found, moments
from servers.features.offline.relations import PlacedView, Relation, placed_view, spine_relation
from servers.features.offline.specification import TrainingSet, check
from servers.features.offline.steps import project, unchanged
from servers.runtime.sql_names import quoted

OUTPUT = "training_set"
"""Name of the output."""


class ColumnKind(Enum):
    """What a column of a training set is."""

    SPINE = "SPINE"
    FEATURE = "FEATURE"
    EVENT_TIME = "EVENT_TIME"
    STATUS = "STATUS"


@dataclass(frozen=True)
class OutputColumn:
    """A column of a training set. Its type is known when the plan is bound.

    Args:
        name: In the training set.
        kind: What it is.
        view: Which it is of; empty for the spine.
        column: Of the spine or the view; empty for a status.
    """

    name: str
    kind: ColumnKind
    view: str = ""
    column: str = ""


@dataclass(frozen=True)
class Retrieval:
    """How a training set is made.

    Args:
        plan: For a processing job.
        output: Name of the step with the rows.
        inputs: Names of the inputs that the job needs.
        columns: Of the result, in its order.
    """

    plan: pb.Plan
    output: str
    inputs: tuple[str, ...]
    columns: tuple[OutputColumn, ...]


def retrieval(training_set: TrainingSet) -> Retrieval:
    """Returns the plan of a training set.

    Raises:
        InvalidTrainingSet: INVALID_ARGUMENT: the specification cannot be used.
    """
    check(training_set)
    steps, rows, spine = spine_relation(training_set)
    label_time = training_set.spine.label_time
    placed = [placed_view(view, f"v{number}", spine, label_time) for number, view in enumerate(training_set.views)]
    more, rows = joined(placed, rows)
    expressions = {name: quoted(spine[name]) for name in training_set.spine.columns}
    columns = [OutputColumn(name, ColumnKind.SPINE, column=name) for name in training_set.spine.columns]
    for each in placed:
        for column, expression in _columns(each, training_set):
            columns.append(column)
            expressions[column.name] = expression
    plan = pb.Plan(steps=[*steps, *more, project(OUTPUT, rows.step, expressions)], outputs=[OUTPUT])
    return Retrieval(plan, OUTPUT, inputs_of(training_set), tuple(columns))


def inputs_of(training_set: TrainingSet) -> tuple[str, ...]:
    """Names of the inputs that a training set reads."""
    return tuple(dict.fromkeys((training_set.spine.input, *(view.input for view in training_set.views))))


def joined(views: list[PlacedView], spine: Relation) -> tuple[list[pb.Step], Relation]:
    """Adds what was found in views to the rows of the spine: first all times, while rows are narrow, then all values.

    Views with the same keys come one after the other, so that rows of the spine stay where they are on engines with partitions.
    """
    ordered = sorted(views, key=lambda each: each.keys)
    steps: list[pb.Step] = []
    rows, histories, known = spine, {}, {}
    for each in ordered:
        more, histories[each.place] = history(each)
        steps += more
        more, known[each.place] = moments(each, histories[each.place])
        steps += more
        more, rows = as_of(each, rows, known[each.place])
        steps += more
    matched = unchanged(spine.columns)
    for each in ordered:
        matched |= found(each)
    steps.append(project(ordered[-1].step("matched"), rows.step, matched))
    rows = Relation(steps[-1].name, tuple(matched))
    for each in ordered:
        more, rows = looked_up(each, rows, histories[each.place], known[each.place])
        steps += more
    return steps, rows


def status(placed: PlacedView) -> str:
    """An expression that says whether a row of a view was found."""
    event, single, tied = (quoted(placed.column(each)) for each in (FOUND, SINGLE, TIED))
    return f"CASE WHEN {event} IS NULL THEN 'NOT_FOUND' WHEN coalesce({single}, {tied}) IS NULL THEN 'OUTSIDE_MAX_AGE' ELSE 'PRESENT' END"


def _columns(placed: PlacedView, training_set: TrainingSet) -> list[tuple[OutputColumn, str]]:
    view = placed.view
    columns = [
        (OutputColumn(view.feature_name(feature), ColumnKind.FEATURE, view.name, feature.column), value)
        for feature, value in zip(view.features, values(placed), strict=True)
    ]
    if training_set.has_event_times:
        event_time = OutputColumn(view.event_time_name, ColumnKind.EVENT_TIME, view.name, view.event_time)
        columns.append((event_time, quoted(placed.column(FOUND))))
    if training_set.has_statuses:
        columns.append((OutputColumn(view.status_name, ColumnKind.STATUS, view.name), status(placed)))
    return columns
