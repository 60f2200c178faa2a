"""Which failures of a look at work pass by themselves: the work goes on, so whoever waits for it does too."""

from __future__ import annotations

from mlmesh.errors import Aborted, DeadlineExceeded, ResourceExhausted, Unavailable

PASSING = (Aborted, DeadlineExceeded, ResourceExhausted, Unavailable)
"""The mesh is started anew, is busy, or is out of reach for a while."""
