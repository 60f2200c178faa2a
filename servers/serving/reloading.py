"""What a worker had in memory is loaded again by the process that takes its place, before predictions reach it.

Otherwise the first callers after a restart would wait for models that another worker has ready. The list is a file of the worker's own.
Each version leaves it while it is being loaded, so one that brings the process down does so once and not at every start.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from servers.runtime.errors import DomainError, Unavailable
from servers.serving.model_source import Key

_LOGGER = logging.getLogger(__name__)
_PAUSE_S = 0.2
_CHECK_S = 1.0


class LoadedList:
    """Which versions a worker has in memory, on disk.

    Args:
        path: The file. It goes with nothing but its worker: where it cannot be read or written, models load on demand.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._awaited = deque(_read(path))
        self._loaded: Counter[Key] = Counter()
        self._is_final = False

    def next_awaited(self) -> Key | None:
        """Takes one of the versions that the process before had, and that this one has not tried yet; None where none is left."""
        with self._lock:
            if not self._awaited:
                return None
            key = self._awaited.popleft()
            self._write()
            return key

    def give_back(self, key: Key) -> None:
        """Takes a version back that could not be tried."""
        with self._lock:
            self._awaited.append(key)
            self._write()

    def add(self, key: Key) -> None:
        """Notes that a version was loaded. It may be so once more before the one loaded first has left."""
        with self._lock:
            self._loaded[key] += 1
            if key in self._awaited:  # a caller was faster
                self._awaited.remove(key)
            self._write()

    def remove(self, key: Key) -> None:
        """Notes that a version has left memory."""
        with self._lock:
            self._loaded -= Counter([key])
            self._write()

    def close(self) -> None:
        """Keeps the list as it is: what leaves memory from now on does so because the process ends."""
        with self._lock:
            self._is_final = True

    def _write(self) -> None:
        if self._is_final:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh.write_text(json.dumps([*self._loaded, *self._awaited]), "utf-8")
            fresh.replace(self._path)
        except OSError as error:
            _LOGGER.warning("the list of loaded models cannot be written: %s", error.strerror)


class Reloading:
    """Loads what the process before had.

    Args:
        versions: The list.
        load: Loads one.
        limit_s: Time after which the worker is ready all the same, in seconds; 0 = it loads on demand only.
        clock: Monotonic seconds.
    """

    def __init__(
        self, versions: LoadedList, load: Callable[[Key], object], *, limit_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._versions = versions
        self._load = load
        self._clock = clock
        self._deadline = clock() + limit_s
        self._stopped = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reload-models", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Returns once the worker may be ready; within a second in any case.

        Raises:
            Unavailable: Models are still being loaded.
        """
        if not self._done.wait(max(0.0, min(_CHECK_S, self._deadline - self._clock()))) and self._clock() < self._deadline:
            raise Unavailable("models that were in memory before the restart are being loaded")

    def close(self) -> None:
        """Begins with no further one."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            while not self._stopped.is_set() and self._clock() < self._deadline and (key := self._versions.next_awaited()):
                self._try(key)
        finally:
            self._done.set()

    def _try(self, key: Key) -> None:
        try:
            self._load(key)
        except Unavailable as error:
            # Most likely the registry, which starts beside this process.
            _LOGGER.info("`%s` version %d cannot be loaded yet: %s", key[1], key[2], error.message)
            self._versions.give_back(key)
            self._stopped.wait(_PAUSE_S)
        except DomainError as error:
            _LOGGER.warning("`%s` version %d is not loaded again: %s", key[1], key[2], error.message)
        except Exception:  # a worker without the model still serves the others
            _LOGGER.exception("`%s` version %d is not loaded again", key[1], key[2])


def _read(path: Path) -> list[Key]:
    try:
        return [(str(project), str(name), int(version)) for project, name, version in json.loads(path.read_text("utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        _LOGGER.warning("the list of loaded models cannot be read, so they are loaded on demand: %s", error)
        return []
