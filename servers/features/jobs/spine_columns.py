"""Whether a spine has the columns that features are looked up by, and of the types."""

from __future__ import annotations

from collections.abc import Iterable

from mlops.features.v1 import feature_job_service_pb2 as pb

from servers.features.definitions.records import Wanted
from servers.features.jobs.errors import InvalidSpine
from servers.features.peers.ingestion_peer import PinnedDataset
from servers.runtime.sql_names import folded

_SHOWN = 30
_KINDS = {
    "bool": "bool",
    "float": "float64",
    "double": "float64",
    "halffloat": "float64",
    "string": "string",
    "large_string": "string",
    "string_view": "string",
    "binary": "bytes",
    "large_binary": "bytes",
    "binary_view": "bytes",
}
_FITTING = {"float64": ("float64", "int64"), "timestamp": ("timestamp", "date")}
"""Kinds of columns that are values of a type without loss, where there are several."""


def kind_of(arrow_type: str) -> str:
    """Returns what a column of a dataset holds, in the words of join keys and request inputs; what they do not know stays as it is.

    Args:
        arrow_type: As Arrow writes it: `int32`, `timestamp[us, tz=UTC]`.
    """
    if arrow_type.startswith(("int", "uint")):
        return "int64"
    if arrow_type.startswith("date"):
        return "date"
    return "timestamp" if arrow_type.startswith("timestamp") else _KINDS.get(arrow_type, arrow_type)


def checked_columns(spine: pb.Spine, dataset: PinnedDataset, wanted: Wanted) -> tuple[str, ...]:
    """Returns the columns of the spine that the training set has.

    Args:
        spine: As it was asked for.
        dataset: The version that is read.
        wanted: What is looked up.

    Raises:
        InvalidSpine: INVALID_ARGUMENT: a column is missing, or has another type.
    """
    there = {folded(name): kind_of(kind) for name, kind in dataset.columns}
    shown = ", ".join(name for name, _ in dataset.columns[:_SHOWN])

    def check(field: str, name: str, what: str, kinds: Iterable[str] = ()) -> None:
        kind = there.get(folded(name))
        if kind is None:
            raise InvalidSpine(field, f"dataset {dataset.name!r} has no column {name!r}, {what}; it has {shown}")
        if kinds and kind not in kinds:
            raise InvalidSpine(field, f"column {name!r} of dataset {dataset.name!r} is {kind}; {what}, is {' or '.join(kinds)}")

    check("spec.spine.label_time_column", spine.label_time_column, "the label time", ("timestamp", "date"))
    for place, name in enumerate(spine.columns):
        check(f"spec.spine.columns[{place}]", name, "which is wanted")
    for selection in wanted.selections:
        for key in selection.view.keys:
            what = f"the join key {key.join_key.name!r} of view {selection.view.view!r}"
            check("spec.spine.dataset", selection.given_name(key.join_key.name), what, (key.join_key.type.value,))
    for each in wanted.request_inputs:
        check("spec.spine.dataset", each.name, f"the request input {each.name!r}", _FITTING.get(each.type, (each.type,)))
    columns = tuple(spine.columns) or tuple(name for name, _ in dataset.columns)
    named = {folded(name) for name in columns}
    for each in wanted.request_inputs:
        if folded(each.name) not in named:
            # Whether on-demand features are the same online can only be found out where their inputs are.
            raise InvalidSpine("spec.spine.columns", f"on-demand features are computed from {each.name!r}; name it, too, or no columns")
    return columns
