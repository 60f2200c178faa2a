"""Errors of serving: each has one reason and one gRPC code."""

from __future__ import annotations

from servers.runtime.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable

MODEL_RESOURCE = "mlops.registry.v1.ModelVersion"
"""Resource type that serving names in `ResourceInfo`."""


class InvalidTensor(InvalidArgument):
    """An input is not what the model's signature asks for, or its bytes do not fit its own shape."""

    reason = "INVALID_TENSOR"


class InvalidPredictBody(InvalidArgument):
    """A JSON body is not a prediction request."""

    reason = "INVALID_PREDICT_BODY"


class InvalidModelChoice(InvalidArgument):
    """A request names no model, or chooses its version in more than one way."""

    reason = "INVALID_MODEL_CHOICE"


class UnknownOutput(InvalidArgument):
    """A request wants an output that the model does not have."""

    reason = "UNKNOWN_OUTPUT"


class ModelRunRefused(InvalidArgument):
    """The inputs fit the signature, and yet the model cannot be run on them."""

    reason = "MODEL_RUN_REFUSED"


class PredictionTooLarge(ResourceExhausted):
    """A request has more bytes, or needs more memory, than a prediction may."""

    reason = "PREDICTION_TOO_LARGE"


class ModelOverloaded(ResourceExhausted):
    """Too many calls wait for the model; none of them was begun for this one."""

    reason = "MODEL_OVERLOADED"


class DeadlineTooShort(ResourceExhausted):
    """The model takes longer for the call than the caller waits, so it was not run."""

    reason = "DEADLINE_TOO_SHORT"


class ModelNotFound(NotFound):
    """The registry has no such model, version, alias or version in that stage."""

    reason = "MODEL_NOT_FOUND"


class ModelNotLoaded(NotFound):
    """There is nothing to unload."""

    reason = "MODEL_NOT_LOADED"


class ModelNotServable(FailedPrecondition):
    """The version exists and has no form that serving runs."""

    reason = "MODEL_NOT_SERVABLE"


class ModelLoadFailed(FailedPrecondition):
    """The version's ONNX file cannot be loaded; the server does not try again until LoadModel is called."""

    reason = "MODEL_LOAD_FAILED"


class ModelCacheFull(ResourceExhausted):
    """The disk of this server has no room for the model's files."""

    reason = "MODEL_CACHE_FULL"


class ModelLoading(Unavailable):
    """The version is being loaded and was not ready in time."""

    reason = "MODEL_LOADING"


class RegistryUnavailable(Unavailable):
    """The registry does not answer, and what is asked for is not here already."""

    reason = "REGISTRY_UNAVAILABLE"
