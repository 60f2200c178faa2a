"""What is let go of after some time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from servers.features.data_process import FeatureProcesses
from servers.features.store.materializations import Materializations, OldGenerations
from servers.features.store.training_sets import TrainingSets

_AT_A_TIME = 100


class Tidying:
    """Forgets old jobs, and drops vectors that nobody reads any more.

    Args:
        materializations: Forgotten after the retention.
        training_sets: Those that came to nothing are forgotten after the retention; models refer to the others.
        old_generations: Dropped once their time has come.
        processes: Drop them.
        clock: The time now.
        retention: How long jobs are kept after their end.
    """

    def __init__(
        self,
        materializations: Materializations,
        training_sets: TrainingSets,
        old_generations: OldGenerations,
        processes: FeatureProcesses,
        clock: Callable[[], datetime],
        retention: timedelta,
    ) -> None:
        self._materializations = materializations
        self._training_sets = training_sets
        self._old_generations = old_generations
        self._processes = processes
        self._clock = clock
        self._retention = retention

    def purge(self) -> None:
        """Forgets jobs that ended long ago."""
        before = self._clock() - self._retention
        for forget in (self._materializations.purge, self._training_sets.purge):
            while forget(before, _AT_A_TIME) == _AT_A_TIME:
                pass

    def drop_old_generations(self) -> None:
        """Drops vectors whose readers have gone. May be interrupted and repeated."""
        names = [each.online_name for each in self._old_generations.due(self._clock(), _AT_A_TIME)]
        if names:
            self._processes.run("drop", {"online_names": names})
            self._old_generations.forget(names)
