"""The metrics of the whole mesh: every source asked at the same time, and who did not answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from servers.system.exposition import Source, join

_LOGGER = logging.getLogger(__name__)

UP = "mlmesh_component_up"
"""Metric that says of each source whether its metrics are in the text."""


class MeshMetrics:
    """Gathers metrics.

    Args:
        sources: How to get the Prometheus text of each source. Any exception means that it has none to give.
    """

    def __init__(self, sources: Mapping[Source, Callable[[], str]]) -> None:
        self._sources = dict(sorted(sources.items()))
        self._pool = ThreadPoolExecutor(max(1, len(self._sources)), thread_name_prefix="ask-metrics")
        self._conflicts: set[str] = set()

    def text(self) -> str:
        """Prometheus text of all sources that answer."""
        asked = {source: self._pool.submit(ask) for source, ask in self._sources.items()}
        texts = {}
        for source, answer in asked.items():
            try:
                texts[source] = answer.result()
            except Exception as error:  # a source may fail in any way; the others are told all the same
                _LOGGER.warning("no metrics from %s: %s", source, error)
        joined = join(texts)
        for conflict in sorted(set(joined.conflicts) - self._conflicts):
            _LOGGER.warning("%s has another type elsewhere and is left out of the mesh's metrics", conflict)
        self._conflicts |= set(joined.conflicts)
        return joined.text + _up(self._sources, texts)

    def close(self) -> None:
        """Stops asking."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _up(sources: Iterable[Source], told: Container[Source]) -> str:
    lines = [f"# HELP {UP} Whether the component gave its metrics.", f"# TYPE {UP} gauge"]
    for source in sources:
        labels = ",".join(f'{label}="{value}"' for label, value in source.labels.items())
        lines.append(f"{UP}{{{labels}}} {1 if source in told else 0}")
    return "\n".join(lines) + "\n"
