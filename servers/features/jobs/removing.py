"""Vectors of versions of views that are deleted."""

from __future__ import annotations

import time
from collections.abc import Callable

from servers.features.data_process import FeatureProcesses
from servers.features.definitions.records import ViewVersion
from servers.features.jobs.errors import ViewMaterializes
from servers.features.store.materializations import Materializations, OldGenerations
from servers.features.store.online_states import OnlineStates
from servers.runtime.work import TaskTable

_PATIENCE_S = 10.0
_LOOK_S = 0.1


class RemovingVectors:
    """Takes the vectors of versions of views away, those of all generations; for whoever deletes a view. Doing it again does no harm.

    Args:
        tasks: Of the component.
        materializations: What is known of materialisations.
        online_states: Which generations there are.
        old_generations: Which there are besides.
        processes: Drop vectors.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        tasks: TaskTable,
        materializations: Materializations,
        online_states: OnlineStates,
        old_generations: OldGenerations,
        processes: FeatureProcesses,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._tasks = tasks
        self._materializations = materializations
        self._online_states = online_states
        self._old_generations = old_generations
        self._processes = processes
        self._sleep = sleep

    def __call__(self, view: ViewVersion) -> None:
        """Ends the materialisation of a version, and drops its vectors.

        Raises:
            ViewMaterializes: FAILED_PRECONDITION: the materialisation takes its time to end.
            DomainError: The online store does not answer.
        """
        self._stop(view)
        state = self._online_states.get(view.id)
        names = [view.online_name(each) for each in (state.generation, state.building) if each is not None]
        names += self._old_generations.of_version(view.id)
        self._processes.run("drop", {"online_names": names})
        # Another view of the name may have vectors of these names soon.
        self._old_generations.forget(names)

    def _stop(self, view: ViewVersion) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while running := self._materializations.open_of(view.id):
            task = self._tasks.cancel(running)
            if task is None:
                # Nobody works on it any more.
                return
            if time.monotonic() >= deadline:
                raise ViewMaterializes(view.view, running)
            self._sleep(_LOOK_S)
