"""Which values come often: Misra and Gries' summary, merged as Agarwal et al. do (Mergeable Summaries, PODS 2012).

A counter is never above what it counts, and below by at most a 129th of all values, however often summaries were merged. Values are told
apart by their hashes, so that long ones take no room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from servers.ingestion.profiles.sketches.hashing import Hashes

CAPACITY = 128
"""Counters that there are."""

Counts = npt.NDArray[np.int64]


class FrequentValues:
    """Counters of the most frequent values.

    Args:
        hashes: Those of the values that have a counter, ascending.
        counts: Theirs.
        values: The values themselves.
        missed: What a counter may have missed at most.
    """

    def __init__(self, hashes: Hashes | None = None, counts: Counts | None = None, values: Sequence[Any] = (), missed: int = 0) -> None:
        self.hashes = np.empty(0, np.uint64) if hashes is None else hashes
        self.counts = np.empty(0, np.int64) if counts is None else counts
        self.values = list(values)
        self.missed = missed

    @property
    def distinct_count(self) -> int | None:
        """How many different values there were, exactly; None where there were more than counters."""
        return None if self.missed else len(self.hashes)

    def most_frequent(self, most: int) -> list[tuple[Any, int]]:
        """Returns values and how often they come at least, the most frequent first.

        Args:
            most: How many.
        """
        order = np.argsort(-self.counts, kind="stable")[:most]
        return [(self.values[place], int(self.counts[place])) for place in order]

    def add(self, hashes: Hashes, counts: Counts, value_of: Callable[[int], Any]) -> None:
        """Adds values.

        Args:
            hashes: Theirs, each once.
            counts: How often each comes.
            value_of: Returns the value of a hash; called for those that get a counter.
        """
        known = dict(zip(self.hashes.tolist(), self.values, strict=True))
        all_counts, all_hashes = counts.astype(np.int64), hashes
        if len(self.hashes):
            places = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
            is_known = self.hashes[places] == hashes
            all_counts[is_known] += self.counts[places[is_known]]
            others = np.ones(len(self.hashes), bool)
            others[places[is_known]] = False
            all_counts = np.concatenate((all_counts, self.counts[others]))
            all_hashes = np.concatenate((hashes, self.hashes[others]))
        if len(all_counts) > CAPACITY:
            # The largest count that gets no counter is taken from all.
            missed = np.partition(all_counts, -(CAPACITY + 1))[-(CAPACITY + 1)]
            self.missed += int(missed)
            stays = all_counts > missed
            all_hashes, all_counts = all_hashes[stays], all_counts[stays] - missed
        order = np.argsort(all_hashes)
        self.hashes, self.counts = all_hashes[order], all_counts[order]
        self.values = [known[each] if each in known else value_of(each) for each in self.hashes.tolist()]

    def merge(self, other: FrequentValues) -> None:
        """Adds the values that another one has counted."""
        theirs = dict(zip(other.hashes.tolist(), other.values, strict=True))
        self.missed += other.missed
        self.add(other.hashes, other.counts, theirs.__getitem__)
