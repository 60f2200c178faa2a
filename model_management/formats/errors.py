"""What can go wrong when a model is saved or loaded, each with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from model_management.errors import RegistryError

__all__ = [
    "ArtifactDamaged",
    "EngineMissing",
    "FormatError",
    "OnnxExportFailed",
    "PickleNotAllowed",
    "SampleInputInvalid",
    "UnknownModelType",
    "UntrustedTypes",
]


class FormatError(RegistryError):
    """Every error of this package; raised in the process of whoever saves or loads, never by a server."""

    reason = "FORMAT_ERROR"


class UnknownModelType(FormatError):
    """No format fits the model, or the one that was asked for does not."""

    reason = "MODEL_TYPE_UNKNOWN"


class PickleNotAllowed(FormatError):
    """The model can only be pickled, and a pickle runs whatever its maker wanted when it is loaded."""

    reason = "PICKLE_NOT_ALLOWED"

    def __init__(self, doing: str) -> None:
        super().__init__(
            f"{doing} needs a pickle, which runs any code when it is loaded; pass allow_pickle=True if you trust whoever makes and keeps it"
        )


class UntrustedTypes(FormatError):
    """Loading would make objects of types that are not known to be harmless.

    Args:
        types: Their full names.
    """

    reason = "TYPES_UNTRUSTED"

    def __init__(self, types: Sequence[str]) -> None:
        names = ", ".join(repr(name) for name in types)
        super().__init__(f"the artifact has types that are not trusted: {names}; if you know who made it, pass trusted_types=[{names}]")
        self.types = tuple(types)


class ArtifactDamaged(FormatError):
    """The folder is not what saving left."""

    reason = "ARTIFACT_DAMAGED"


class EngineMissing(FormatError):
    """A package that the model needs is not installed.

    Args:
        package: What to import.
        extra: The extra of mlmesh that brings it.
    """

    reason = "ENGINE_MISSING"

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'mlmesh[{extra}]'")
        self.package = package


class SampleInputInvalid(FormatError):
    """The sample input is not something that the model can be given."""

    reason = "SAMPLE_INPUT_INVALID"


class OnnxExportFailed(FormatError):
    """An ONNX was required, and cannot be made or does not predict what the model predicts."""

    reason = "ONNX_EXPORT_FAILED"
