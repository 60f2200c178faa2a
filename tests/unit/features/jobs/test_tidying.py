"""What is let go of after some time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from servers.features.jobs.tidying import Tidying
from servers.features.store.materializations import OldGeneration

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Jobs:
    """Has so many old jobs."""

    def __init__(self, old: int) -> None:
        self.old = old
        self.before: set[datetime] = set()

    def purge(self, before: datetime, most: int) -> int:
        self.before.add(before)
        purged = min(self.old, most)
        self.old -= purged
        return purged


class Generations:
    """Has one that is due."""

    forgotten: tuple[str, ...] = ()

    def due(self, now: datetime, limit: int) -> list[OldGeneration]:
        return [OldGeneration("default/spending@1.0", "v")]

    def forget(self, names: list[str]) -> None:
        self.forgotten = tuple(names)


class Processes:
    """Says what it was asked to do."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.done: list[Any] = []

    def run(self, operation: str, arguments: Any) -> None:
        self.done.append((operation, arguments))
        if self._error is not None:
            raise self._error


def test_all_jobs_that_ended_before_the_retention_are_forgotten() -> None:
    materializations, training_sets, nothing = Jobs(250), Jobs(0), Any
    tidying = Tidying(materializations, training_sets, nothing, nothing, lambda: NOW, timedelta(days=30))  # type: ignore[arg-type]

    tidying.purge()

    assert (materializations.old, materializations.before) == (0, {NOW - timedelta(days=30)})


def test_old_vectors_are_known_until_they_are_dropped() -> None:
    generations, broken, whole = Generations(), Processes(ConnectionError()), Processes()

    for processes in (broken, whole):
        tidying = Tidying(Jobs(0), Jobs(0), generations, processes, lambda: NOW, timedelta())  # type: ignore[arg-type]
        try:
            tidying.drop_old_generations()
        except ConnectionError:
            assert generations.forgotten == ()

    assert broken.done == whole.done == [("drop", {"online_names": ["default/spending@1.0"]})]
    assert generations.forgotten == ("default/spending@1.0",)
