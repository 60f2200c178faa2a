from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from prometheus_client import CollectorRegistry

from servers.serving.batch_queue import BatchLimits
from servers.serving.entries import Entry, Limits, Loaded, State, loaded_model
from servers.serving.errors import ModelLoadFailed, ModelLoading, ModelNotLoaded, RegistryUnavailable
from servers.serving.loaded_models import LoadedModels
from servers.serving.metrics import ServingMetrics
from servers.serving.model_source import SourceVersion
from servers.serving.onnx_session import OnnxSession
from tests.small_mesh import onnx_models

SESSION = OnnxSession(onnx_models.linear())
BATCHES = BatchLimits(max_rows=16, max_bytes=1000, max_queued_rows=100, max_queued_calls=20)


def version(name: str, number: int = 1) -> SourceVersion:
    return SourceVersion("default", name, number, "onnx", "model.onnx", ())


@dataclass
class FakeLoader:
    """Loads at once, or when a test says so, or not."""

    size_bytes: int = 100
    gates: dict[str, threading.Event] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    loads: list[tuple[str, int]] = field(default_factory=list)
    metrics: ServingMetrics = field(default_factory=lambda: ServingMetrics(CollectorRegistry()))

    def __call__(self, source: SourceVersion, reserve: Callable[[int], None]) -> Loaded:
        self.loads.append((source.name, source.version))
        if source.name in self.gates:
            assert self.gates[source.name].wait(60)
        if source.name in self.failures:
            raise self.failures[source.name]
        reserve(self.size_bytes)
        return loaded_model(source, SESSION, f"sha256:{source.name}", self.size_bytes, self.metrics.version(source), BATCHES)


def lease(models: LoadedModels, source: SourceVersion, wait_s: float | None = None) -> Entry:
    return asyncio.run(models.lease(source, wait_s))


@contextlib.contextmanager
def leased(models: LoadedModels, source: SourceVersion, wait_s: float | None = None) -> Iterator[Loaded]:
    entry = lease(models, source, wait_s)
    try:
        yield entry.model
    finally:
        models.release(entry)


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
def unloaded() -> list[str]:
    return []


@pytest.fixture
def table(loader, unloaded) -> Iterator[Callable[..., LoadedModels]]:
    made: list[LoadedModels] = []

    def make(**limits: Any) -> LoadedModels:
        known = {"max_models": 3, "max_bytes": 1000, "max_failed": 2, "max_waiting": 2, "load_wait_s": 60.0}
        models = LoadedModels(
            loader,
            Limits(**{**known, **limits}),
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            load_threads=2,
            on_unloaded=lambda source, _: unloaded.append(source.name),
        )
        made.append(models)
        return models

    yield make
    for gate in loader.gates.values():
        gate.set()
    for models in made:
        models.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline


def states(models: LoadedModels) -> dict[str, State]:
    return {view.name: view.state for view in models.views("default")}


def test_a_version_is_loaded_on_first_use_and_stays(table, loader):
    models = table()

    for _ in range(3):
        with leased(models, version("a")) as loaded:
            assert loaded.digest == "sha256:a"

    assert loader.loads == [("a", 1)]
    assert states(models) == {"a": State.READY}


def test_callers_who_want_the_same_version_load_it_once(table, loader):
    loader.gates["a"] = threading.Event()
    models = table(max_waiting=20)
    answered: list[str] = []

    def predict() -> None:
        with leased(models, version("a")) as loaded:
            answered.append(loaded.digest)

    threads = [threading.Thread(target=predict) for _ in range(10)]
    for thread in threads:
        thread.start()
    loader.gates["a"].set()
    for thread in threads:
        thread.join(60)

    assert answered == ["sha256:a"] * 10
    assert loader.loads == [("a", 1)]


def test_others_predict_while_a_version_loads(table, loader):
    models = table()
    models.load(version("a"))
    loader.gates["b"] = threading.Event()
    loading = threading.Thread(target=models.load, args=(version("b"),))
    loading.start()

    with leased(models, version("a")) as loaded:
        assert loaded.digest == "sha256:a"

    loader.gates["b"].set()
    loading.join(60)
    assert states(models) == {"a": State.READY, "b": State.READY}


def test_a_call_waits_for_a_load_only_so_long_and_the_load_goes_on(table, loader):
    loader.gates["a"] = threading.Event()
    models = table()

    with pytest.raises(ModelLoading, match="was not ready in time") as raised, leased(models, version("a"), wait_s=0.01):
        pass

    assert raised.value.retry_after_s == 1
    loader.gates["a"].set()
    with leased(models, version("a")) as loaded:
        assert loaded.digest == "sha256:a"
    assert loader.loads == [("a", 1)]


def test_no_more_calls_wait_than_allowed(table, loader):
    loader.gates["a"] = threading.Event()
    models = table(max_waiting=1)
    waiting = threading.Thread(target=models.load, args=(version("a"),))
    waiting.start()
    until(lambda: models._waiting._value == 0)  # no sooner, or the call below is the one that waits

    with pytest.raises(ModelLoading, match="1 calls wait for models already"), leased(models, version("a")):
        pass

    loader.gates["a"].set()
    waiting.join(60)


def test_a_model_that_cannot_be_loaded_is_not_tried_by_every_caller(table, loader):
    loader.failures["a"] = ModelLoadFailed("broken")
    models = table()

    for _ in range(3):
        with (
            pytest.raises(ModelLoadFailed, match=r"`a` version 1 cannot be loaded: broken\. Save it anew, or call LoadModel"),
            leased(models, version("a")),
        ):
            pass

    assert loader.loads == [("a", 1)]
    assert states(models) == {"a": State.FAILED}
    assert models.views("default")[0].error == "broken"


def test_load_model_tries_a_failed_one_again(table, loader):
    loader.failures["a"] = ModelLoadFailed("broken")
    models = table()
    with pytest.raises(ModelLoadFailed):
        models.load(version("a"))
    del loader.failures["a"]

    assert models.load(version("a")).state is State.READY


def test_what_is_wrong_with_the_moment_is_tried_again_by_the_next_caller(table, loader):
    loader.failures["a"] = RegistryUnavailable("away", retry_after_s=1)
    models = table()
    with pytest.raises(RegistryUnavailable), leased(models, version("a")):
        pass
    assert states(models) == {}
    del loader.failures["a"]

    with leased(models, version("a")):
        pass


def test_a_fault_of_the_server_is_told_without_its_text(table, loader):
    loader.failures["a"] = RuntimeError("secret")
    models = table()

    with pytest.raises(ModelLoadFailed, match="a fault in the server") as raised:
        models.load(version("a"))

    assert "secret" not in raised.value.message


def test_reasons_of_few_failures_are_kept(table, loader):
    models = table(max_failed=2)
    for name in "abc":
        loader.failures[name] = ModelLoadFailed("broken")
        with pytest.raises(ModelLoadFailed):
            models.load(version(name))

    assert states(models) == {"b": State.FAILED, "c": State.FAILED}


def test_the_least_recently_used_version_makes_room(table, unloaded):
    models = table(max_models=2)
    models.load(version("a"))
    models.load(version("b"))
    with leased(models, version("a")):
        pass

    models.load(version("c"))

    assert states(models) == {"a": State.READY, "c": State.READY}
    assert unloaded == ["b"]


def test_bytes_make_room_too(table, loader):
    models = table(max_models=10, max_bytes=250)
    for name in "abc":
        models.load(version(name))

    assert set(states(models)) == {"b", "c"}


def test_a_version_larger_than_all_room_is_refused_and_nobody_goes_for_it(table, loader):
    models = table(max_bytes=150)
    models.load(version("a"))
    loader.size_bytes = 151

    with pytest.raises(ModelLoadFailed, match="151 bytes; at most 150"):
        models.load(version("b"))

    assert states(models) == {"a": State.READY, "b": State.FAILED}


def test_unloading_waits_for_predictions_and_lets_new_ones_load_again(table, loader, unloaded):
    models = table()
    entry = lease(models, version("a"))
    unloading = threading.Thread(target=models.unload, args=("default", "a", 1))
    unloading.start()
    until(lambda: entry.state is not State.READY)

    assert states(models) == {"a": State.UNLOADING}
    assert unloaded == []
    assert models.try_lease(version("a")) is None
    newer = lease(models, version("a"))
    assert newer is not entry
    models.release(newer)
    models.release(entry)
    unloading.join(60)

    assert unloaded == ["a"]
    assert states(models) == {"a": State.READY}
    assert loader.loads == [("a", 1), ("a", 1)]


def test_unloading_names_the_versions(table):
    models = table()
    models.load(version("a", 2))
    models.load(version("a", 1))

    assert models.unload("default", "a") == [1, 2]
    with pytest.raises(ModelNotLoaded, match="no version of `a` is loaded in project `default`"):
        models.unload("default", "a")
    with pytest.raises(ModelNotLoaded, match="version 3 of `a` is not loaded"):
        models.unload("default", "a", 3)


def test_a_version_that_is_being_loaded_cannot_be_unloaded(table, loader):
    loader.gates["a"] = threading.Event()
    models = table()
    loading = threading.Thread(target=models.load, args=(version("a"),))
    loading.start()
    until(lambda: "a" in states(models))

    with pytest.raises(ModelLoading, match="unload it when it is ready"):
        models.unload("default", "a")

    loader.gates["a"].set()
    loading.join(60)


def test_projects_do_not_see_each_other(table):
    models = table()
    models.load(version("a"))

    assert models.views("other") == []
    with pytest.raises(ModelNotLoaded):
        models.unload("other", "a")


def test_predictions_never_fail_while_versions_come_and_go(table):
    models = table(max_models=2, max_waiting=20)
    stop = threading.Event()
    failures: list[Exception] = []
    answered = [0] * 4

    def predict(index: int) -> None:
        while not stop.is_set():
            try:
                with leased(models, version("abcd"[index])) as loaded:
                    assert loaded.digest == f"sha256:{'abcd'[index]}"
                answered[index] += 1
            except Exception as error:  # every one is a failed prediction
                failures.append(error)

    def unload() -> None:
        rounds, deadline = 0, time.monotonic() + 60
        # Where nothing is loaded a round takes no time, and somebody may not have begun yet.
        while rounds < 200 or (min(answered) == 0 and time.monotonic() < deadline):
            rounds += 1
            with contextlib.suppress(ModelNotLoaded, ModelLoading):
                models.unload("default", "a")
        stop.set()

    threads = [*(threading.Thread(target=predict, args=(index,)) for index in range(4)), threading.Thread(target=unload)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert failures == []
    assert min(answered) > 0


class Life(RuleBasedStateMachine):
    """Any order of leases, loads, failures and unloads keeps the promises of the table."""

    leases = Bundle("leases")

    @initialize()
    def start(self) -> None:
        self.loader = FakeLoader()
        self.gone: list[str] = []
        self.failed: set[str] = set()
        self.held: list[Entry] = []
        self.models = LoadedModels(
            self.loader,
            Limits(max_models=2, max_bytes=1000, max_failed=2, max_waiting=2, load_wait_s=60),
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
            on_unloaded=lambda source, _: self.gone.append(source.name),
        )

    @rule(target=leases, name=st.sampled_from("abc"))
    def take(self, name: str) -> Any:
        try:
            entry = lease(self.models, version(name))
        except ModelLoadFailed:
            assert name in self.loader.failures or name in self.failed, "a failure stays until LoadModel"
            self.failed.add(name)
            return multiple()
        self.held.append(entry)
        return entry

    @rule(target=leases, name=st.sampled_from("abc"))
    def take_what_is_ready(self, name: str) -> Any:
        is_ready = any(view.name == name and view.state is State.READY for view in self.models.views("default"))
        entry = self.models.try_lease(version(name))
        assert (entry is not None) == is_ready
        if entry is None:
            return multiple()
        self.held.append(entry)
        return entry

    @rule(entry=consumes(leases))
    def give_back(self, entry: Entry) -> None:
        self.held.remove(entry)
        self.models.release(entry)

    @rule(name=st.sampled_from("abc"), fails=st.booleans())
    def change(self, name: str, fails: bool) -> None:
        self.loader.failures.pop(name, None)
        if fails:
            self.loader.failures[name] = ModelLoadFailed("broken")

    @rule(name=st.sampled_from("abc"))
    def load(self, name: str) -> None:
        refused = False
        try:
            self.models.load(version(name))
        except ModelLoadFailed:
            refused = True
            self.failed.add(name)
        assert refused <= (name in self.loader.failures), "LoadModel tries anew"

    @rule(name=st.sampled_from("abc"))
    def unload_idle(self, name: str) -> None:
        if any(entry.source.name == name for entry in self.held):
            return
        try:
            self.models.unload("default", name)
        except ModelNotLoaded:
            assert name not in {view.name for view in self.models.views("default") if view.state is State.READY}

    @invariant()
    def what_is_leased_is_in_memory(self) -> None:
        assert all(entry.loaded is not None for entry in self.held)

    @invariant()
    def no_more_is_ready_than_allowed(self) -> None:
        ready = [view for view in self.models.views("default") if view.state is State.READY]
        assert len(ready) <= 2

    def teardown(self) -> None:
        if hasattr(self, "models"):
            for entry in self.held:
                self.models.release(entry)
            self.models.close()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
