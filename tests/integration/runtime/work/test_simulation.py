"""No task is lost, none has two outcomes, and all end, whenever and wherever processes die."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from sqlalchemy import Engine

from tests.integration.runtime.work.simulated_world import World

Open = Callable[[str], AbstractContextManager[Engine]]


def history(engine: Engine, seed: int, steps: int) -> World:
    world = World(engine, seed)
    with world.crashing():
        world.live(steps)
        world.settle()
    return world


@pytest.mark.parametrize("seed", range(4))
def test_whatever_dies_every_task_ends_once(open_tasks: Open, seed: int) -> None:
    with open_tasks("sqlite") as engine:
        world = history(engine, seed, steps=1500)

    # The history had what it was made for.
    assert world.crashes > 15
    assert world.outcomes_refused > 10
    assert world.states().keys() >= {"SUCCEEDED", "FAILED", "CANCELLED"}


@pytest.mark.parametrize("database", ["postgresql", pytest.param("mariadb", marks=pytest.mark.system_package)])
def test_whatever_dies_every_task_ends_once_on_servers_too(open_tasks: Open, database: str) -> None:
    with open_tasks(database) as engine:
        world = history(engine, seed=100, steps=400)

    assert world.states().keys() <= {"SUCCEEDED", "FAILED", "CANCELLED"}
    assert world.crashes > 3


def test_a_seed_is_one_history(open_tasks: Open) -> None:
    with open_tasks("sqlite") as first, open_tasks("sqlite") as second:
        assert history(first, 7, steps=300).history == history(second, 7, steps=300).history
