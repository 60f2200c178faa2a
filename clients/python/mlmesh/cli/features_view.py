"""Feature views, their values and their lineage in the terminal."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from rich.text import Text

from mlmesh.cli.definition_options import label_text
from mlmesh.cli.output import console, moment, print_table, rfc3339
from mlmesh.feature_views import FeatureView, FeatureViewLineage, FeatureViewStatistics, OnlineState
from mlmesh.served_features import ServedFeatures


def print_view(view: FeatureView) -> None:
    """Prints a feature view: what it is, how it stands online, and a line a feature."""
    spec = view.spec
    print_table(
        ("", ""),
        (
            ("name", view.name),
            ("display name", view.display_name),
            ("description", view.description),
            ("labels", label_text(view.labels)),
            ("version", view.version),
            ("entities", ", ".join(spec.get("entities", ()))),
            ("dataset", view.dataset),
            ("pipeline", view.pipeline),
            ("event time", spec.get("event_time_column", "")),
            ("write time", spec.get("write_time_column", "")),
            ("oldest", spec.get("max_age", "")),
            *_online_rows(view.online),
            ("created", f"{moment(view.create_time)} by {view.creator or '-'}"),
            ("changed", moment(view.update_time)),
            ("etag", view.etag),
        ),
    )
    console().print()
    features = ((one["name"], one.get("type", ""), one.get("column", ""), one.get("description", "")) for one in spec.get("features", ()))
    print_table(("FEATURE", "TYPE", "COLUMN", "DESCRIPTION"), features)


def print_lineage(lineage: FeatureViewLineage) -> None:
    """Prints what a view is made of, and what is made of it."""
    datasets = ((one.dataset, one.version, one.pipeline, ", ".join(one.input_datasets)) for one in lineage.datasets)
    print_table(("DATASET", "VERSION", "PIPELINE", "OF"), datasets, empty="no dataset")
    console().print()
    services = ((f"{one.service}@{one.version}", one.view_version) for one in lineage.services)
    print_table(("SERVICE", "VIEW VERSION"), services, empty="no services")
    console().print()
    made = ((one.id, f"{one.dataset}@{one.dataset_version}", one.view_version) for one in lineage.training_sets)
    print_table(("TRAINING SET", "DATASET", "VIEW VERSION"), made, empty="no training sets")
    console().print()
    models = ((one.model, one.version, one.training_set_id) for one in lineage.models)
    print_table(("MODEL", "VERSION", "TRAINING SET"), models, empty="no models")


def print_statistics(found: FeatureViewStatistics) -> None:
    """Prints how fresh a view is, and a line a feature."""
    print_table(
        ("", ""),
        (
            ("view version", found.version),
            ("dataset", f"{found.dataset}@{found.dataset_version}"),
            ("baseline", f"{found.dataset}@{found.baseline_version}"),
            ("rows", found.row_count),
            ("newest event", f"{moment(found.newest_event_time)}{_ago(found.event_age)}"),
            *_online_rows(found.online),
            ("online is behind by", _length(found.online_lag)),
        ),
    )
    console().print()
    rows = (
        (
            *(one.feature, f"{one.null_fraction:.1%}", _number(one.distinct_count), _number(one.mean), _number(one.standard_deviation)),
            *(_drift(one.population_stability_index), _number(one.mean_shift)),
        )
        for one in found.features
    )
    print_table(("FEATURE", "NULLS", "DISTINCT", "MEAN", "DEVIATION", "DRIFT", "MEAN SHIFT"), rows)


def print_served(found: ServedFeatures, keys: Mapping[str, Sequence[Any]]) -> None:
    """Prints a row a line: its join keys and its features; where a value is missing, why.

    Args:
        found: The features.
        keys: The join keys, by name.
    """
    columns = [*keys.values(), *(_cells(found, name) for name in found)]
    print_table([*keys, *found], zip(*columns, strict=True), empty="no rows")


def served_json(found: ServedFeatures, *, with_event_times: bool) -> dict[str, Any]:
    """Returns served features as JSON values: moments and days as text, decimals as text, bytes in base64.

    Args:
        found: The features.
        with_event_times: Whether event times were asked for.
    """
    features = {}
    for name in found:
        view, version = found.view_of(name)
        features[name] = {
            "type": found.type_of(name),
            "view": view,
            "version": version,
            "values": [_json_value(value) for value in found[name]],
            "statuses": found.statuses(name),
        }
        if with_event_times and view:
            features[name]["event_times"] = [_json_value(time) for time in found.event_times(name)]
    return {"feature_service_version": found.feature_service_version, "features": features}


def _cells(found: ServedFeatures, name: str) -> list[object]:
    pairs = zip(found[name], found.statuses(name), strict=True)
    return [str(value) if status == "present" else Text(status, style="dim") for value, status in pairs]


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, date | Decimal):
        return str(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _online_rows(online: OnlineState | None) -> tuple[tuple[str, object], ...]:
    if online is None:
        return (("online", "no: it is kept offline alone"),)
    return (
        ("online: dataset version", online.dataset_version),
        ("online: materialised", moment(online.materialize_time)),
        ("online: newest event", moment(online.newest_event_time)),
        ("online: rows written", online.written_rows),
        ("online: next by itself", moment(online.next_materialize_time)),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _drift(index: float | None) -> object:
    if index is None:
        return ""
    colour = "green" if index < 0.1 else "yellow" if index <= 0.25 else "red"
    return Text(f"{index:.3f}", style=colour)


def _length(length: timedelta | None) -> str:
    # Days and hours, as Python writes them, without microseconds.
    return "" if length is None else str(timedelta(seconds=round(length.total_seconds())))


def _ago(age: timedelta | None) -> str:
    return "" if age is None else f", {_length(age)} ago"
