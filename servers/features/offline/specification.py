"""What a training set is made of: a spine, and feature views that are looked up for its rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from servers.features.offline.errors import InvalidTrainingSet, TrainingSetColumnTwice
from servers.runtime.sql_names import folded, is_column_name


@dataclass(frozen=True)
class Spine:
    """Rows that features are looked up for.

    Args:
        input: Of the processing job.
        label_time: Column with the moment as of which features are wanted.
        columns: Which of its columns the training set has, in this order. Keys and the label time are read in any case, and are in the
            training set only if they are named here.
    """

    input: str
    label_time: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class ViewKey:
    """A column of the spine and one of a view that have to be equal."""

    spine: str
    view: str


@dataclass(frozen=True)
class Feature:
    """A column of a view, and its name in the training set; empty for the view's prefix and the column's name."""

    column: str
    name: str = ""


@dataclass(frozen=True)
class FeatureView:
    """A history of values by keys.

    Args:
        name: Of the view.
        input: Of the processing job.
        keys: May be empty.
        event_time: Column with the moment from which on values are true.
        features: At least one.
        write_time: Column with the moment at which a row was written; empty if the view does not know.
        counts_writes: Whether a row may be used only from its write time on. Without that a training set knows what nobody knew at the
            label time; the write time then only breaks ties.
        max_age: Age from which on values count as too old; None for any age.
        is_strict: Whether the event has to be before the label time, not only at it.
        prefix: Put before the names of features that have no name of their own.
    """

    name: str
    input: str
    keys: tuple[ViewKey, ...]
    event_time: str
    features: tuple[Feature, ...]
    write_time: str = ""
    counts_writes: bool = True
    max_age: timedelta | None = None
    is_strict: bool = False
    prefix: str = ""

    @property
    def is_bitemporal(self) -> bool:
        """Whether the time of writing decides which rows may be used."""
        return bool(self.write_time) and self.counts_writes

    def feature_name(self, feature: Feature) -> str:
        """The name of a feature in the training set."""
        return feature.name or f"{self.prefix}{feature.column}"

    @property
    def event_time_name(self) -> str:
        """The name of the column with the event times of the rows that were found."""
        return f"{self.name}__event_time"

    @property
    def status_name(self) -> str:
        """The name of the column that says whether a row was found."""
        return f"{self.name}__status"


@dataclass(frozen=True)
class TrainingSet:
    """A spine with the features of its rows.

    Args:
        spine: Its rows.
        views: Looked up for each of them; at least one. Columns are in this order.
        has_event_times: Whether each view has a column `<view>__event_time` behind its features: that of the row that was found, also
            if it is too old.
        has_statuses: Whether each view has a column `<view>__status` behind that.
    """

    spine: Spine
    views: tuple[FeatureView, ...]
    has_event_times: bool = field(default=False, kw_only=True)
    has_statuses: bool = field(default=False, kw_only=True)


def check(training_set: TrainingSet) -> None:
    """Checks what can be checked without the inputs.

    Raises:
        TrainingSetColumnTwice: INVALID_ARGUMENT: two columns of the result have one name.
        InvalidTrainingSet: INVALID_ARGUMENT: something is missing, empty or no name.
    """
    spine = training_set.spine
    _check_names("the spine", (spine.input, spine.label_time, *spine.columns))
    if not training_set.views:
        raise InvalidTrainingSet("the training set has no feature views; name at least one")
    for name in _twice(view.name for view in training_set.views):
        raise InvalidTrainingSet(f"two feature views are named {name!r}; case does not count. Give one another name")
    for view in training_set.views:
        _check_view(view)
    _check_result(training_set)


def _check_view(view: FeatureView) -> None:
    what = f"the feature view {view.name!r}"
    columns = [*(each for key in view.keys for each in (key.spine, key.view)), *(feature.column for feature in view.features)]
    _check_names(what, (view.name, view.input, view.event_time, *columns))
    if not view.features:
        raise InvalidTrainingSet(f"{what} has no features; name at least one")
    for name in _twice(key.view for key in view.keys):
        raise InvalidTrainingSet(f"{what} has the key {name!r} twice; name it once")
    if view.max_age is not None and view.max_age < timedelta():
        raise InvalidTrainingSet(f"{what} has a max_age of {view.max_age.total_seconds():g} s; it is 0 or more, or absent for any age")


def _check_result(training_set: TrainingSet) -> None:
    origins: dict[str, str] = {}
    named = [(name, "the spine") for name in training_set.spine.columns]
    for view in training_set.views:
        names = [view.feature_name(feature) for feature in view.features]
        names += [view.event_time_name] * training_set.has_event_times + [view.status_name] * training_set.has_statuses
        named += [(name, f"the feature view {view.name!r}") for name in names]
    for name, origin in named:
        _check_names(origin, (name,))
        if folded(name) in origins:
            raise TrainingSetColumnTwice(
                f"the column {name!r} of {origin} is also one of {origins[folded(name)]}; case does not count. "
                "Give the feature a name, or its view a prefix"
            )
        origins[folded(name)] = origin


def _check_names(what: str, names: Iterable[str]) -> None:
    for name in names:
        if not is_column_name(name):
            raise InvalidTrainingSet(
                f"{what} has {name[:255]!r}, which is no name: it has 1 to 255 characters, none of them U+0000 or U+001F"
            )


def _twice(names: Iterable[str]) -> Iterable[str]:
    seen: set[str] = set()
    for name in names:
        if folded(name) in seen:
            yield name
        seen.add(folded(name))
