"""The models in memory: loaded on first use or ahead of it, and given back when others need the room.

Every version is an entry with a state: LOADING → READY → UNLOADING, or FAILED. Loading happens in threads of its own, once however many
callers want the version, and holds no lock while others predict. An entry that unloads takes no new predictions, finishes those it has,
and then lets go of its memory; whoever asks for the version meanwhile gets a new entry.

A prediction takes and returns its lease without the table's lock. It adds its lease first and looks at the state after that; who unloads
changes the state first and looks for leases after that. So at least one of the two sees the other.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from servers.runtime.errors import DomainError
from servers.serving.entries import Entry, Limits, Loaded, Loader, ModelView, State, failure_of, view_of
from servers.serving.errors import ModelLoadFailed, ModelLoading, ModelNotLoaded
from servers.serving.model_source import Key, SourceVersion
from servers.serving.statistics import Statistics

_LOGGER = logging.getLogger(__name__)
_SHARE_OF_DEADLINE = 0.9
"""Part of a caller's time that is spent waiting for a load; the rest is for telling that it is not ready."""


class LoadedModels:
    """The table.

    Args:
        load: Brings a version into memory.
        limits: What the table may hold.
        now: The time now.
        load_threads: Versions loaded at the same time.
        on_unloaded: Told of each version that has left memory, and what counted its predictions.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        load: Loader,
        limits: Limits,
        *,
        now: Callable[[], datetime],
        load_threads: int = 1,
        on_unloaded: Callable[[SourceVersion, Statistics], None] = lambda _source, _statistics: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._limits = limits
        self._now = now
        self._on_unloaded = on_unloaded
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[Key, Entry] = {}
        self._leaving: set[Entry] = set()
        self._waiting = threading.BoundedSemaphore(limits.max_waiting)
        self._loaders = ThreadPoolExecutor(load_threads, thread_name_prefix="load-model")
        self._disposer = ThreadPoolExecutor(1, thread_name_prefix="unload-model")

    def try_lease(self, source: SourceVersion) -> Entry | None:
        """Holds a READY version in memory for one prediction, until `release`. Waits for nothing.

        Returns:
            Its entry; None where it is not READY.
        """
        entry = self._entries.get(source.key)
        if entry is None or entry.state is not State.READY:
            return None
        entry.leases.append(None)
        if entry.state is not State.READY:  # it has begun to unload in between
            self.release(entry)
            return None
        entry.used_at = self._clock()
        return entry

    async def lease(self, source: SourceVersion, wait_s: float | None = None) -> Entry:
        """Holds a version in memory for one prediction, until `release`, loading it first where it is not there.

        Args:
            source: The version.
            wait_s: How long the caller waits for an answer, in seconds; None where that is not known. The limit's time counts besides.

        Raises:
            ModelLoading: If the version is not ready in time, or too many calls wait already.
            ModelLoadFailed: If it cannot be loaded, now or when it was tried before.
            servers.runtime.errors.DomainError: Whatever else kept it from being loaded.
        """
        limit_s = self._limits.load_wait_s
        deadline = self._clock() + (limit_s if wait_s is None else min(limit_s, wait_s * _SHARE_OF_DEADLINE))
        while True:
            leased = self.try_lease(source)
            if leased is not None:
                return leased
            entry = self._wanted(source)
            with self._waiting_for(entry):
                await _settled(entry, max(0.0, deadline - self._clock()))
            self._check_settled(entry)

    def release(self, entry: Entry) -> None:
        """Ends a lease."""
        entry.leases.pop()
        if entry.state is State.UNLOADING:
            with self._lock:
                self._let_go_if_empty(entry)

    def load(self, source: SourceVersion) -> ModelView:
        """Loads a version, also one that FAILED before, and waits until it is READY.

        Raises:
            As `lease`.
        """
        with self._lock:
            entry = self._entries.get(source.key)
            if entry is not None and entry.state is State.FAILED:
                del self._entries[entry.source.key]
        entry = self._wanted(source)
        if not entry.settled.done():
            with self._waiting_for(entry):
                concurrent.futures.wait([entry.settled], self._limits.load_wait_s)
        self._check_settled(entry)
        with self._lock:
            return view_of(entry)

    def unload(self, project: str, name: str, version: int = 0) -> list[int]:
        """Unloads a version, or all of a model, and waits for their predictions.

        Args:
            project: Project of the model.
            name: Name of the model.
            version: Version number; 0 = every loaded one.

        Returns:
            The version numbers, ascending.

        Raises:
            ModelNotLoaded: If nothing of it is loaded.
            ModelLoading: If it is being loaded right now.
        """
        with self._lock:
            found = [
                entry
                for (its_project, its_name, its_version), entry in self._entries.items()
                if (its_project, its_name) == (project, name) and version in (0, its_version)
            ]
            if not found:
                which = f"version {version} of `{name}`" if version else f"no version of `{name}`"
                text = f"{which} is {'not ' if version else ''}loaded in project `{project}`"
                raise ModelNotLoaded(text, resource=("mlops.serving.v1.ServedModel", f"{name}/{version}" if version else name))
            if any(entry.state is State.LOADING for entry in found):
                raise ModelLoading(f"`{name}` is being loaded; unload it when it is ready", retry_after_s=1)
            leaving = [self._begin_unload(entry) for entry in found]
        for entry in leaving:
            entry.emptied.wait()
        return sorted(entry.source.version for entry in leaving)

    def views(self, project: str) -> list[ModelView]:
        """What is in the table, for one project."""
        with self._lock:
            entries = [*self._entries.values(), *self._leaving]
            return [view_of(entry) for entry in entries if entry.source.project == project]

    def ready_count(self) -> int:
        """How many versions answer predictions."""
        with self._lock:
            return sum(entry.state is State.READY for entry in self._entries.values())

    def close(self) -> None:
        """Lets go of everything. Called after the last prediction."""
        self._loaders.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for entry in list(self._entries.values()):
                self._begin_unload(entry)
        self._disposer.shutdown(wait=True)

    def _wanted(self, source: SourceVersion) -> Entry:
        """The entry of a version, which begins to be loaded if it is not there."""
        with self._lock:
            entry = self._entries.get(source.key) or self._begin_load(source)
            if entry.state is State.FAILED:
                raise failure_of(entry)
            return entry

    @contextlib.contextmanager
    def _waiting_for(self, entry: Entry) -> Iterator[None]:
        """Around the wait for a load. Only so many calls wait at a time: each holds its inputs, and over grpcio a worker thread."""
        if not self._waiting.acquire(blocking=False):
            text = f"{_named(entry)} is being loaded, and {self._limits.max_waiting} calls wait for models already"
            raise ModelLoading(text, retry_after_s=1)
        try:
            yield
        finally:
            self._waiting.release()

    def _check_settled(self, entry: Entry) -> None:
        if not entry.settled.done():
            raise ModelLoading(f"{_named(entry)} is being loaded and was not ready in time; try again", retry_after_s=1)
        if entry.error is not None:
            raise failure_of(entry)

    def _begin_load(self, source: SourceVersion) -> Entry:
        entry = Entry(source, started_at=self._clock(), used_at=self._clock())
        self._entries[entry.source.key] = entry
        self._loaders.submit(self._run_load, entry)
        return entry

    def _run_load(self, entry: Entry) -> None:
        try:
            loaded = self._load(entry.source, lambda size_bytes: self._make_room(entry, size_bytes))
        except DomainError as error:
            self._settle_failure(entry, error)
        except Exception:  # whatever it is, callers wait for an answer
            _LOGGER.exception("loading `%s` version %d failed", entry.source.name, entry.source.version)
            self._settle_failure(
                entry, ModelLoadFailed("the model could not be loaded because of a fault in the server; its log says more")
            )
        else:
            self._settle_success(entry, loaded)

    def _settle_success(self, entry: Entry, loaded: Loaded) -> None:
        with self._lock:
            entry.loaded = loaded
            entry.size_bytes = loaded.size_bytes
            entry.load_time = self._now()
            entry.load_duration_s = self._clock() - entry.started_at
            entry.state = State.READY
            entry.used_at = self._clock()
            entry.settled.set_result(None)
        if loaded.own_process is not None:
            loaded.own_process.when_ended(lambda error: self._give_up(entry, error))
        _LOGGER.info("loaded `%s` version %d in %.0f ms", entry.source.name, entry.source.version, entry.load_duration_s * 1000)

    def _settle_failure(self, entry: Entry, error: DomainError) -> None:
        """Keeps what is wrong with the model, and forgets what is wrong with the moment: the next call tries that again."""
        is_lasting = isinstance(error, ModelLoadFailed)
        with self._lock:
            entry.error = error
            entry.state = State.FAILED
            entry.size_bytes = 0
            entry.load_duration_s = self._clock() - entry.started_at
            if not is_lasting:
                self._entries.pop(entry.source.key, None)
            self._forget_failures()
            entry.settled.set_result(None)
        _LOGGER.warning("loading `%s` version %d failed: %s", entry.source.name, entry.source.version, error.message)

    def _give_up(self, entry: Entry, error: DomainError) -> None:
        """Unloads a version whose process does not run any more, and keeps the reason where that is the model."""
        with self._lock:
            if entry.state is not State.READY:  # it is unloaded already
                return
            self._begin_unload(entry)
            if not isinstance(error, ModelLoadFailed):
                return
            failed = Entry(entry.source, State.FAILED, error=error, used_at=entry.used_at, started_at=entry.started_at)
            failed.settled.set_result(None)
            self._entries[entry.source.key] = failed
            self._forget_failures()

    def _forget_failures(self) -> None:
        failed = [other for other in self._entries.values() if other.state is State.FAILED]
        for other in sorted(failed, key=lambda other: other.used_at)[: max(0, len(failed) - self._limits.max_failed)]:
            del self._entries[other.source.key]

    def _make_room(self, entry: Entry, size_bytes: int) -> None:
        """Unloads the least recently used versions until the new one fits. Those that still predict finish first."""
        if size_bytes > self._limits.max_bytes:
            raise ModelLoadFailed(
                f"the model has {size_bytes} bytes; at most {self._limits.max_bytes} are loaded (setting max_loaded_bytes)"
            )
        with self._lock:
            entry.size_bytes = size_bytes
            others = [other for other in self._entries.values() if other is not entry and other.state in (State.READY, State.LOADING)]
            idle_first = sorted((other for other in others if other.state is State.READY), key=lambda other: other.used_at)
            count, total = len(others) + 1, sum(other.size_bytes for other in others) + size_bytes
            for other in idle_first:
                if count <= self._limits.max_models and total <= self._limits.max_bytes:
                    return
                self._begin_unload(other)
                count, total = count - 1, total - other.size_bytes

    def _begin_unload(self, entry: Entry) -> Entry:
        self._entries.pop(entry.source.key, None)
        entry.state = State.UNLOADING
        self._leaving.add(entry)
        self._let_go_if_empty(entry)
        return entry

    def _let_go_if_empty(self, entry: Entry) -> None:
        if entry.state is State.UNLOADING and not entry.leases and entry in self._leaving:
            self._leaving.discard(entry)
            self._disposer.submit(self._dispose, entry)

    def _dispose(self, entry: Entry) -> None:
        """Gives the memory back, away from the lock: a large model takes a while to tear down."""
        try:
            loaded = entry.model
            if loaded.own_process is not None:
                loaded.own_process.close()
            statistics = loaded.statistics
            del loaded
            entry.loaded = None
            self._on_unloaded(entry.source, statistics)
        finally:
            entry.emptied.set()
        _LOGGER.info("unloaded `%s` version %d", entry.source.name, entry.source.version)


async def _settled(entry: Entry, timeout_s: float) -> None:
    """Waits until a load has ended, or the time is over."""
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            loop.call_soon_threadsafe(woken.set)

    entry.settled.add_done_callback(wake)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(woken.wait(), timeout_s)


def _named(entry: Entry) -> str:
    return f"`{entry.source.name}` version {entry.source.version}"
