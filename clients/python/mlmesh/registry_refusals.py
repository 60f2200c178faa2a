"""What the registry of a mesh refuses, as the errors of `model_management`, so that one program works with either."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aip_filter import FilterError, OrderByError, PageTokenError
from mlmesh.errors import DeadlineExceeded, InvalidArgument, MeshError, Unavailable
from model_management import errors

_BY_REASON: dict[str, type[errors.RegistryError]] = {
    kind.reason: kind
    for kind in (
        *(errors.ModelNotFound, errors.VersionNotFound, errors.AliasNotFound, errors.ModelExists, errors.RequestIdReused),
        *(errors.EtagMismatch, errors.ModelDeleted, errors.IllegalTransition, errors.VersionNotReady, errors.VersionHasAliases),
        *(errors.ParentNotFound, errors.BlobsMissing, errors.FileDamaged, errors.StorageFull, errors.MetadataUnavailable),
    )
}
_QUERIES = {"FILTER_INVALID": FilterError, "ORDER_BY_INVALID": OrderByError, "PAGE_TOKEN_INVALID": PageTokenError}


@contextlib.contextmanager
def refusals_of_the_library() -> Iterator[None]:
    """Raises what a local registry would raise. What only a mesh refuses (who calls, how often) stays a `MeshError`."""
    try:
        yield
    except MeshError as error:
        raised = library_error(error)
        if raised is None:
            raise
        raise raised from error


def library_error(error: MeshError) -> Exception | None:
    """Returns what a local registry would raise; None where it would raise nothing like it."""
    if error.reason in _QUERIES:
        return _QUERIES[error.reason](error.message)
    if error.reason in _BY_REASON:
        return _with_message(_BY_REASON[error.reason], error)
    if isinstance(error, InvalidArgument):
        first = error.field_violations[0] if error.field_violations else None
        return errors.InvalidValue(first.field if first else "request", first.description if first else error.message)
    if isinstance(error, Unavailable | DeadlineExceeded):
        return errors.MetadataUnavailable(error.message)
    return None


def _with_message(kind: type[errors.RegistryError], error: MeshError) -> errors.RegistryError:
    # Each kind makes its message out of facts; here the message is there already.
    raised = kind.__new__(kind)
    errors.RegistryError.__init__(raised, error.message, **error.metadata)
    return raised
