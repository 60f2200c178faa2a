from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from servers.runtime.errors import Unavailable
from servers.serving.errors import ModelLoadFailed, RegistryUnavailable
from servers.serving.model_source import Key
from servers.serving.reloading import LoadedList, Reloading

A: Key = ("default", "a", 1)
B: Key = ("team", "b", 7)
LONG_S = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "loaded" / "1.json"


def awaited(path: Path) -> list[Key]:
    """What a process that starts now would load."""
    versions = LoadedList(path)
    return list(iter(versions.next_awaited, None))


@pytest.fixture
def left(path: Path) -> LoadedList:
    """The list of a process that starts after one that had two versions."""
    before = LoadedList(path)
    before.add(A)
    before.add(B)
    return LoadedList(path)


def reload(versions: LoadedList, load: Callable[[Key], object]) -> Reloading:
    reloading = Reloading(versions, load, limit_s=LONG_S)
    assert reloading._done.wait(LONG_S)
    return reloading


def test_what_a_process_has_is_awaited_by_the_next_one(path):
    versions = LoadedList(path)
    versions.add(A)
    versions.add(B)
    versions.remove(A)

    assert awaited(path) == [B]


def test_a_version_that_was_loaded_anew_before_the_old_one_left_stays(path):
    versions = LoadedList(path)
    versions.add(A)
    versions.add(A)
    versions.remove(A)

    assert awaited(path) == [A]


def test_what_leaves_memory_as_the_process_ends_is_awaited_all_the_same(path):
    versions = LoadedList(path)
    versions.add(A)
    versions.close()
    versions.remove(A)

    assert awaited(path) == [A]


def test_everything_is_loaded_again(left):
    loaded: list[Key] = []

    reload(left, loaded.append).check()

    assert loaded == [A, B]


def test_a_version_that_ends_the_process_is_tried_once(path, left):
    assert left.next_awaited() == A  # and the process dies

    assert awaited(path) == [B]


def test_what_is_loaded_on_demand_meanwhile_is_not_awaited_any_more(left):
    left.add(A)

    assert left.next_awaited() == B
    assert left.next_awaited() is None


def test_the_worker_is_not_ready_while_it_loads(left):
    go_on = threading.Event()
    reloading = Reloading(left, lambda _: go_on.wait(LONG_S), limit_s=LONG_S)

    with pytest.raises(Unavailable, match="being loaded"):
        reloading.check()

    go_on.set()
    assert reloading._done.wait(LONG_S)
    reloading.check()


def test_the_worker_is_ready_after_the_limit_though_it_still_loads(left):
    go_on = threading.Event()
    now = [0.0]
    reloading = Reloading(left, lambda _: go_on.wait(LONG_S), limit_s=10, clock=lambda: now[0])
    now[0] = 10.0

    reloading.check()

    go_on.set()


def test_without_time_nothing_is_loaded_ahead(path, left):
    loaded: list[Key] = []
    reloading = Reloading(left, loaded.append, limit_s=0)
    reloading.check()
    assert reloading._done.wait(LONG_S)

    assert loaded == []
    assert awaited(path) == [A, B]


def test_a_registry_that_is_away_is_waited_for(left):
    asked: list[Key] = []

    def load(key: Key) -> None:
        asked.append(key)
        if len(asked) < 3:
            raise RegistryUnavailable("away")

    reload(left, load).check()

    assert asked == [A, B, A, B]


@pytest.mark.parametrize("failure", [ModelLoadFailed("broken"), ZeroDivisionError()])
def test_a_version_that_fails_keeps_no_other_from_being_loaded(left, failure):
    loaded: list[Key] = []

    def load(key: Key) -> None:
        if key == A:
            raise failure
        loaded.append(key)

    reload(left, load).check()

    assert loaded == [B]


@pytest.mark.parametrize("text", ["", "{}", "[1]", "no JSON", '[["a", "b"]]', '[["p", "m", "one"]]'])
def test_a_list_that_cannot_be_read_is_no_list(path, text):
    path.parent.mkdir(parents=True)
    path.write_text(text)

    assert awaited(path) == []


def test_a_folder_that_cannot_be_written_to_keeps_nobody_from_loading(tmp_path):
    (tmp_path / "loaded").touch()

    LoadedList(tmp_path / "loaded" / "1.json").add(A)
