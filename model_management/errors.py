"""What can go wrong in a registry, one type a cause, each with a reason that programs can rely on.

A server answers them with the gRPC code that the docstring of their family names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = [
    "AliasNotFound",
    "BlobsMissing",
    "EtagMismatch",
    "FileDamaged",
    "IllegalTransition",
    "InvalidValue",
    "MetadataUnavailable",
    "ModelDeleted",
    "ModelExists",
    "ModelNotFound",
    "NotFoundError",
    "ParentNotFound",
    "PreconditionError",
    "RegistryError",
    "RequestIdReused",
    "StorageFull",
    "VersionHasAliases",
    "VersionNotFound",
    "VersionNotReady",
]


class RegistryError(Exception):
    """Every error of this package.

    Args:
        message: What is wrong and what would be right.
        metadata: The facts in the message, for programs.
    """

    reason = "REGISTRY_ERROR"

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items()}


class InvalidValue(RegistryError, ValueError):
    """A value is not allowed (INVALID_ARGUMENT).

    Args:
        field: Which value, as the caller knows it, for example ``tags.team``.
        description: What is wrong with it and what is allowed.
    """

    reason = "INVALID_VALUE"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}", field=field)
        self.field = field
        self.description = description


class NotFoundError(RegistryError, LookupError):
    """Something that was asked for is not there (NOT_FOUND)."""

    reason = "NOT_FOUND"


class ModelNotFound(NotFoundError):
    """The project has no such model, or it is deleted."""

    reason = "MODEL_NOT_FOUND"

    def __init__(self, project: str, model: str, *, is_deleted: bool = False) -> None:
        hint = "it is deleted; restore it to use it again" if is_deleted else "list the models to see which there are"
        super().__init__(f"project {project!r} has no model {model!r}; {hint}", project=project, model=model)


class VersionNotFound(NotFoundError):
    """The model has no such version, or it is deleted.

    Args:
        project: The project.
        model: The model.
        wanted: Which version: a number, or words such as ``in stage production``.
        hint: What the caller can do.
    """

    reason = "MODEL_VERSION_NOT_FOUND"

    def __init__(self, project: str, model: str, wanted: int | str, hint: str = "list the versions to see which there are") -> None:
        super().__init__(
            f"model {model!r} in project {project!r} has no version {wanted}; {hint}", project=project, model=model, version=wanted
        )


class AliasNotFound(NotFoundError):
    """The model has no such alias."""

    reason = "ALIAS_NOT_FOUND"

    def __init__(self, project: str, model: str, alias: str, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(
            f"model {model!r} in project {project!r} has no alias {alias!r}; it has {names}", project=project, model=model, alias=alias
        )


class ModelExists(RegistryError):
    """The name is taken (ALREADY_EXISTS)."""

    reason = "MODEL_EXISTS"

    def __init__(self, project: str, model: str, *, is_deleted: bool) -> None:
        hint = "it is deleted: restore it, or wait until it is purged" if is_deleted else "choose another name, or add a version to it"
        super().__init__(f"project {project!r} already has a model {model!r}; {hint}", project=project, model=model)


class RequestIdReused(RegistryError):
    """The request id was used for something else (ALREADY_EXISTS)."""

    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the request id {request_id!r} was used for another request; make a new one", request_id=request_id)


class EtagMismatch(RegistryError):
    """What was to be changed has changed since it was read (ABORTED)."""

    reason = "ETAG_MISMATCH"

    def __init__(self, what: str, sent: str, current: str) -> None:
        super().__init__(f"{what} has changed since it was read (etag {sent!r}, now {current!r}); read it again", etag=current)


class PreconditionError(RegistryError):
    """The state of things does not allow it (FAILED_PRECONDITION)."""

    reason = "FAILED_PRECONDITION"


class ModelDeleted(PreconditionError):
    """The model is deleted and takes no changes."""

    reason = "MODEL_DELETED"

    def __init__(self, project: str, model: str) -> None:
        super().__init__(f"model {model!r} in project {project!r} is deleted; restore it first", project=project, model=model)


class IllegalTransition(PreconditionError):
    """The version's state does not lead there."""

    reason = "ILLEGAL_TRANSITION"

    def __init__(self, model: str, version: int, current: str, allowed: Sequence[str], action: str) -> None:
        super().__init__(
            f"version {version} of model {model!r} is {current} and cannot {action}; it would have to be {' or '.join(allowed)}",
            model=model,
            version=version,
            state=current,
            allowed_states=",".join(allowed),
        )


class VersionNotReady(PreconditionError):
    """The version has no complete set of files."""

    reason = "MODEL_VERSION_NOT_READY"

    def __init__(self, model: str, version: int, state: str) -> None:
        super().__init__(
            f"version {version} of model {model!r} is {state}, not READY; finalize it or choose another",
            model=model,
            version=version,
            state=state,
        )


class VersionHasAliases(PreconditionError):
    """Aliases point at the version, so it cannot be deleted."""

    reason = "MODEL_VERSION_HAS_ALIASES"

    def __init__(self, model: str, version: int, aliases: Sequence[str]) -> None:
        super().__init__(
            f"version {version} of model {model!r} has the aliases {', '.join(aliases)}; point them elsewhere or remove them first",
            model=model,
            version=version,
            aliases=",".join(aliases),
        )


class ParentNotFound(PreconditionError):
    """A version named as parent does not exist in the project."""

    reason = "PARENT_NOT_FOUND"

    def __init__(self, model: str, version: int) -> None:
        super().__init__(f"the parent version {version} of model {model!r} does not exist in this project", model=model, version=version)


class BlobsMissing(PreconditionError):
    """Files are named whose content is not stored, or is of another size.

    Args:
        digests: Which.
    """

    reason = "BLOBS_MISSING"

    def __init__(self, digests: Sequence[str]) -> None:
        shown = ", ".join(digests[:3]) + (f" and {len(digests) - 3} more" if len(digests) > 3 else "")
        super().__init__(f"{len(digests)} blobs are not stored with that size: {shown}; upload them first", digest=digests[0])
        self.digests = tuple(digests)


class FileDamaged(RegistryError):
    """A stored file is missing or is not what was saved (DATA_LOSS)."""

    reason = "ARTIFACT_DAMAGED"

    def __init__(self, model: str, version: int, path: str, why: str) -> None:
        super().__init__(
            f"file {path!r} of version {version} of model {model!r} is damaged: {why}; restore it from a backup or save the model again",
            model=model,
            version=version,
            path=path,
        )


class StorageFull(RegistryError):
    """There is no space left for files or metadata (RESOURCE_EXHAUSTED). Nothing of what was being saved is visible."""

    reason = "STORAGE_FULL"

    def __init__(self, where: str) -> None:
        super().__init__(f"there is no space left {where}; nothing was saved; make room and try again")


class MetadataUnavailable(RegistryError):
    """The metadata backend does not answer (UNAVAILABLE)."""

    reason = "METADATA_UNAVAILABLE"

    def __init__(self, why: str) -> None:
        super().__init__(f"the metadata backend does not answer: {why}")
