"""The leak report as rows of a dataset: one a view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.processing.v1 import plan_pb2

from servers.features.jobs.records import ReportedView
from servers.features.offline.leaks import LeakPlan
from servers.features.offline.steps import project
from servers.runtime.sql_names import quoted

OUTPUT = "leaks"
"""Name of the step with the rows."""

_PLACE = "place"
_COUNTS = {
    "rows": "rows",
    "not_found_rows": "not_found",
    "outside_max_age_rows": "outside_max_age",
    "before_first_rows": "before_first",
    "after_newest_rows": "after_newest",
    "changed_rows": "changed",
    "view_rows": "view_rows",
    "late_view_rows": "late",
}
"""Columns of the rows, which are fields of `ViewLeaks`, and the columns of a leak plan's outputs that they are."""

_CHANGED, _NULLS, _DELAYS = "changed_rows_by_feature", "null_rows_by_feature", "write_delays"
_SHARES = (0.5, 0.9, 0.99, 1.0)


def leak_output(plan: LeakPlan, names: Mapping[str, str], views: Sequence[str]) -> list[plan_pb2.Step]:
    """Returns the steps that put the outputs of a leak plan together.

    Args:
        plan: The leak plan.
        names: The name that each of its steps has.
        views: What its views are called by people, in its order.
    """
    steps = []
    for place, (view, shown) in enumerate(zip(plan.views, views, strict=True)):
        features = range(len(view.features))
        columns = {_PLACE: f"CAST({place} AS BIGINT)", "view": "'" + shown.replace("'", "''") + "'"}
        columns |= {name: quoted(column) for name, column in _COUNTS.items()}
        columns[_DELAYS] = quoted("write_delay_s") if view.write_time else "CAST(NULL AS DOUBLE[])"
        columns[_CHANGED] = _listed(f"changed{number}" for number in features)
        columns[_NULLS] = _listed(f"null{number}" for number in features)
        steps.append(project(f"{OUTPUT}_of_v{place}", names[plan.outputs[view.name]], columns))
    if len(steps) == 1:
        steps[0].name = OUTPUT
        return steps
    return [*steps, plan_pb2.Step(name=OUTPUT, union=plan_pb2.Union(inputs=[step.name for step in steps]))]


def view_leaks(reported: Sequence[ReportedView], rows: Sequence[Mapping[str, Any]]) -> list[pb.ViewLeaks]:
    """Reads the report.

    Args:
        reported: What it is about, in order.
        rows: Of the dataset, as a preview has them.
    """
    return [_view_leaks(view, row) for view, row in zip(reported, sorted(rows, key=lambda row: int(row[_PLACE])), strict=True)]


def _view_leaks(view: ReportedView, row: Mapping[str, Any]) -> pb.ViewLeaks:
    delays = row[_DELAYS] or []
    return pb.ViewLeaks(
        view=view.view,
        **{name: int(row[name]) for name in _COUNTS},
        write_delays=[pb.WriteDelay(share=share, seconds=float(delay)) for share, delay in zip(_SHARES, delays, strict=bool(delays))],
        features=[
            pb.FeatureLeaks(feature=name, changed_rows=int(changed), null_rows=int(nulls))
            for name, changed, nulls in zip(view.features, row[_CHANGED], row[_NULLS], strict=True)
        ],
    )


def _listed(names: Iterable[str]) -> str:
    return f"[{', '.join(map(quoted, names))}]"
