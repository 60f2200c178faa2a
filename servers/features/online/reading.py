"""Online features of entities as columns, with a status for every value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from servers.features.online.columns import Column
from servers.features.online.feature_types import VectorSchema
from servers.features.online.store import OnlineStore
from servers.features.online.vectors import RowState, decode_vectors

__all__ = ["ValueStatus", "ViewRead", "ViewRows", "read_views"]


class ValueStatus(IntEnum):
    """What is known of a value."""

    PRESENT = 1
    """The value."""
    NULL = 2
    """The newest vector has no value for the feature."""
    NOT_FOUND = 3
    """There is no vector of the entity, or none of this version of the view."""
    OUTSIDE_MAX_AGE = 4
    """The newest vector is older than the view allows. Its values are not given."""


@dataclass(frozen=True, slots=True)
class ViewRead:
    """What is asked of a view. The same view may be asked twice, as of a sender and a receiver.

    Args:
        view: Name of the version of the view, see `OnlineStore`.
        schema: What its vectors hold.
        keys: The entity's key of each row, see `entity_keys`.
        max_age_us: Longest time since the event, in microseconds; None = any.
    """

    view: str
    schema: VectorSchema
    keys: Sequence[bytes]
    max_age_us: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ViewRows:
    """What a view answers.

    Args:
        columns: Values by the name of the feature, in the schema's order; where a status is not PRESENT they say nothing.
        statuses: `(features, rows) uint8` of `ValueStatus`.
        event_times_us: `(rows,) int64`, microseconds since 1970-01-01 UTC; 0 where NOT_FOUND.
        foreign_rows: Rows that are NOT_FOUND because what the store has is not of this version. They should be 0: somebody wrote vectors of
            another schema under this name.
    """

    columns: Mapping[str, Column]
    statuses: np.ndarray[Any, Any]
    event_times_us: np.ndarray[Any, Any]
    foreign_rows: int


def read_views(store: OnlineStore, reads: Sequence[ViewRead], now_us: int) -> list[ViewRows]:
    """Read several views in one round trip.

    Args:
        store: Where.
        reads: What.
        now_us: The time from which ages are counted, in microseconds since 1970-01-01 UTC.

    Returns:
        An answer for each of `reads`, with its rows in the order of its keys.

    Raises:
        OnlineStoreUnavailable: If the store does not answer.
    """
    wanted: dict[str, list[bytes]] = {}
    starts: list[int] = []
    for read in reads:
        keys = wanted.setdefault(read.view, [])
        starts.append(len(keys))
        keys.extend(read.keys)
    vectors = store.read_many(wanted)
    return [_rows(read, vectors[read.view][start : start + len(read.keys)], now_us) for read, start in zip(reads, starts, strict=True)]


def _rows(read: ViewRead, vectors: Sequence[bytes | None], now_us: int) -> ViewRows:
    oldest = None if read.max_age_us is None else max(now_us - read.max_age_us, -(1 << 63))
    decoded = decode_vectors(read.schema, vectors, oldest_event_time_us=oldest)
    statuses = np.where(decoded.is_null, np.uint8(ValueStatus.NULL), np.uint8(ValueStatus.PRESENT))
    is_unread = decoded.states != RowState.READ
    if is_unread.any():
        unread = np.where(decoded.states == RowState.TOO_OLD, np.uint8(ValueStatus.OUTSIDE_MAX_AGE), np.uint8(ValueStatus.NOT_FOUND))
        statuses = np.where(is_unread, unread, statuses)
    return ViewRows(decoded.columns, statuses, decoded.event_times_us, int((decoded.states == RowState.FOREIGN).sum()))
