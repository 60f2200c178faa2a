"""How the processor is shared out among the processes of a mesh."""

from __future__ import annotations

import os

_MOST_ENVOY_WORKERS = 8


def envoy_workers() -> int:
    """Threads of Envoy: half of the cores, since the servers behind it need the others.

    On two cores, a second thread costs a prediction a tenth more processor time (ADR 45).
    """
    return min(_MOST_ENVOY_WORKERS, max(1, (os.cpu_count() or 1) // 2))
