"""Errors of models that run in processes of their own."""

from __future__ import annotations

from servers.runtime.errors import Unavailable
from servers.serving.errors import ModelLoadFailed, ModelRunRefused


class ModelCrashed(ModelLoadFailed):
    """The model's process crashed while it was loaded, or too often since; it is not started again until LoadModel is called."""

    reason = "MODEL_CRASHED"


class ModelRunAborted(ModelRunRefused):
    """The model's process did not survive the run, nor its repetitions, or the run took too long."""

    reason = "MODEL_RUN_ABORTED"


class ModelNotRunning(Unavailable):
    """The model's process is being started again, or is being stopped; nothing was answered."""

    reason = "MODEL_NOT_RUNNING"
