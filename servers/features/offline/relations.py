"""Relations of a plan that is being put together, and what views and spine columns are named inside of it.

Names inside are ours, so that columns of people cannot collide before they get their names at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlops.processing.v1 import plan_pb2 as pb

from servers.features.offline.specification import FeatureView, TrainingSet
from servers.features.offline.steps import project, scan
from servers.runtime.sql_names import folded, quoted

_MOST_SLUG_CHARACTERS = 30


@dataclass(frozen=True)
class Relation:
    """A step and its columns."""

    step: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class SpineColumns:
    """What the columns of the spine are named inside of a plan, by their folded names."""

    inside: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.inside[folded(name)]


@dataclass(frozen=True)
class PlacedView:
    """A view in a plan.

    Args:
        view: Which one.
        place: Begins the names of its columns inside.
        keys: Columns of the spine, as they are named inside, that are equal to its keys.
        label_time: Column of the spine, as it is named inside.
    """

    view: FeatureView
    place: str
    keys: tuple[str, ...]
    label_time: str

    def step(self, what: str) -> str:
        """Name of one of its steps; people meet it in errors."""
        slug = re.sub(r"[^A-Za-z0-9]+", "_", self.view.name)[:_MOST_SLUG_CHARACTERS]
        return f"{self.place}_{slug}_{what}"

    def column(self, what: str, number: int | None = None) -> str:
        """Name of one of its columns."""
        return f"{self.place}_{what}{'' if number is None else number}"


def placed_view(view: FeatureView, place: str, spine: SpineColumns, label_time: str) -> PlacedView:
    """A view at a place of a plan."""
    return PlacedView(view, place, tuple(spine[key.spine] for key in view.keys), spine[label_time])


def spine_relation(training_set: TrainingSet, name: str = "spine") -> tuple[list[pb.Step], Relation, SpineColumns]:
    """Reads what is needed of the spine.

    Returns:
        Steps, the last of them, and the names of its columns.
    """
    spine = training_set.spine
    keys = (key.spine for view in training_set.views for key in view.keys)
    wanted = {folded(column): column for column in (*spine.columns, spine.label_time, *keys)}
    inside = {each: f"s{number}" for number, each in enumerate(wanted)}
    columns = {inside[each]: quoted(column) for each, column in wanted.items()}
    steps = [scan(f"{name}_read", spine.input, wanted.values()), project(name, f"{name}_read", columns)]
    return steps, Relation(name, tuple(columns)), SpineColumns(inside)
