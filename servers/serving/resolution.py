"""Which version answers: asked of the registry, remembered for a moment, and kept while the registry is away."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from servers.serving.errors import RegistryUnavailable
from servers.serving.model_source import ModelChoice, ModelSource, SourceVersion

_LOGGER = logging.getLogger(__name__)


@dataclass
class _Remembered:
    version: SourceVersion
    fresh_until: float
    is_stale: bool = False
    was_used: bool = False
    refreshing: threading.Lock = field(default_factory=threading.Lock)


class Resolver:
    """Resolves choices with a small cache. Safe to use from several threads.

    What the registry said is taken as true for `ttl_s`. After that one caller asks again, and the others go on with what is known.
    Where the registry does not answer, what it said last stays true, so a mesh without its registry keeps predicting.

    Args:
        source: The registry.
        ttl_s: How long an answer counts, in seconds. A moved alias takes effect within that time.
        timeout_s: Longest time to ask where nothing is known, in seconds.
        refresh_timeout_s: Longest time to ask where an older answer is at hand, in seconds.
        max_choices: Answers kept. The one that was asked for longest ago makes room, unless it was used since its last turn.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        ttl_s: float,
        timeout_s: float,
        refresh_timeout_s: float,
        max_choices: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._refresh_timeout_s = refresh_timeout_s
        self._max_choices = max_choices
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: OrderedDict[ModelChoice, _Remembered] = OrderedDict()

    def known(self, choice: ModelChoice) -> SourceVersion | None:
        """The version that a choice stands for, as far as that is known without asking; waits for nothing.

        Returns:
            The version. None where `resolve` has to ask: nothing is known, or it is old and nobody is asking already.
        """
        known = self._remembered.get(choice)
        if known is None:
            return None
        known.was_used = True
        if self._clock() < known.fresh_until or known.refreshing.locked():
            return known.version
        return None

    def resolve(self, choice: ModelChoice) -> SourceVersion:
        """Finds the version that a choice stands for, asking the registry where need be.

        Raises:
            servers.serving.errors.ModelNotFound: If there is none.
            RegistryUnavailable: If the registry does not answer, and never did for this choice.
        """
        known = self._remembered.get(choice)
        if known is None:
            return self.ask(choice)
        known.was_used = True
        if not known.refreshing.acquire(blocking=False):
            return known.version
        try:
            if self._clock() < known.fresh_until:
                return known.version
            return self._refresh(choice, known)
        finally:
            known.refreshing.release()

    def ask(self, choice: ModelChoice) -> SourceVersion:
        """Asks the registry whatever is remembered, and remembers the answer."""
        version = self._source.resolve(choice, self._timeout_s)
        self._remember(choice, version)
        return version

    def _refresh(self, choice: ModelChoice, known: _Remembered) -> SourceVersion:
        try:
            version = self._source.resolve(choice, self._refresh_timeout_s)
        except RegistryUnavailable as error:
            if not known.is_stale:
                _LOGGER.warning("%s: the registry does not answer, version %d stays: %s", choice, known.version.version, error.message)
            known.is_stale = True
            known.fresh_until = self._clock() + self._ttl_s  # the next callers need not wait for a registry that is away
            return known.version
        except Exception:
            with self._lock:
                self._remembered.pop(choice, None)
            raise
        self._remember(choice, version)
        return version

    def _remember(self, choice: ModelChoice, version: SourceVersion) -> None:
        with self._lock:
            while choice not in self._remembered and len(self._remembered) >= self._max_choices:
                oldest, answer = self._remembered.popitem(last=False)
                if answer.was_used:
                    answer.was_used = False
                    self._remembered[oldest] = answer
            self._remembered[choice] = _Remembered(version, self._clock() + self._ttl_s)
