"""The pool of data processes of the feature store; what they can do is in `operations`."""

from __future__ import annotations

import sys

from servers.features.data_process.settings import FeatureProcessSettings
from servers.runtime.data_process import pool

PROGRAM = (sys.executable, "-P", "-m", "servers.features.data_process")
MEMORY_SETTING = "MLMESH_FEATURES_JOB_MEMORY_BYTES"
"""What gives a process more memory, for errors."""


class FeatureProcesses(pool.DataProcesses):
    """See the class that this is one of.

    Args:
        settings: What the processes are told, and how many there may be.

    Raises:
        OSError: If the scratch folder cannot be made.
    """

    def __init__(self, settings: FeatureProcessSettings) -> None:
        super().__init__(PROGRAM, settings, MEMORY_SETTING)
