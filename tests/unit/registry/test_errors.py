"""What errors of the libraries are to callers of the server."""

from __future__ import annotations

import pytest
from grpc import StatusCode

import blob_store
from blob_store.errors import UploadIncomplete
from model_management import errors
from servers.registry.errors import from_library
from servers.runtime.statuses import status_of

DIGEST = f"sha256:{'0' * 64}"

REGISTRY_ERRORS = [
    (errors.InvalidValue("tags.team", "is too long"), StatusCode.INVALID_ARGUMENT),
    (errors.ModelNotFound("default", "m"), StatusCode.NOT_FOUND),
    (errors.VersionNotFound("default", "m", 3), StatusCode.NOT_FOUND),
    (errors.AliasNotFound("default", "m", "champion", []), StatusCode.NOT_FOUND),
    (errors.ModelExists("default", "m", is_deleted=False), StatusCode.ALREADY_EXISTS),
    (errors.RequestIdReused("id"), StatusCode.ALREADY_EXISTS),
    (errors.EtagMismatch("model 'm'", "a", "b"), StatusCode.ABORTED),
    (errors.ModelDeleted("default", "m"), StatusCode.FAILED_PRECONDITION),
    (errors.IllegalTransition("m", 1, "READY", ["PENDING"], "take files"), StatusCode.FAILED_PRECONDITION),
    (errors.VersionNotReady("m", 1, "PENDING"), StatusCode.FAILED_PRECONDITION),
    (errors.VersionHasAliases("m", 1, ["champion"]), StatusCode.FAILED_PRECONDITION),
    (errors.ParentNotFound("m", 1), StatusCode.FAILED_PRECONDITION),
    (errors.BlobsMissing([DIGEST]), StatusCode.FAILED_PRECONDITION),
    (errors.FileDamaged("m", 1, "weights", "it is missing"), StatusCode.DATA_LOSS),
    (errors.StorageFull("for artifacts"), StatusCode.RESOURCE_EXHAUSTED),
    (errors.MetadataUnavailable("it is down"), StatusCode.UNAVAILABLE),
]

BLOB_ERRORS = [
    (blob_store.InvalidDigest("x"), StatusCode.INVALID_ARGUMENT),
    (blob_store.DigestMismatch(DIGEST, DIGEST), StatusCode.INVALID_ARGUMENT),
    (blob_store.BlobTooLarge(1), StatusCode.INVALID_ARGUMENT),
    (blob_store.UploadNotFound("id"), StatusCode.NOT_FOUND),
    (blob_store.OffsetMismatch(1, 2), StatusCode.FAILED_PRECONDITION),
]
SAID_BY_THE_RUNTIME = {
    blob_store.StorageFull: StatusCode.RESOURCE_EXHAUSTED,
    blob_store.StoreUnavailable: StatusCode.UNAVAILABLE,
}
NEVER_A_CALLERS_CONCERN = {
    # The server asks for what it knows to be there: `transfers` and the catalog say what it means that it is not.
    blob_store.BlobNotFound,
    # Only whole uploads are completed.
    UploadIncomplete,
}


def leaves(kind: type[Exception]) -> set[type[Exception]]:
    """Kinds that are raised; of the same module, as signing has errors too, and no server signs."""
    below = [each for each in kind.__subclasses__() if each.__module__ == kind.__module__]
    return set().union(*map(leaves, below)) if below else {kind}


def test_every_error_of_the_libraries_is_looked_at_here():
    assert {type(error) for error, _ in REGISTRY_ERRORS} == leaves(errors.RegistryError)
    assert {type(error) for error, _ in BLOB_ERRORS} | set(SAID_BY_THE_RUNTIME) | NEVER_A_CALLERS_CONCERN == leaves(
        blob_store.BlobStoreError
    )


@pytest.mark.parametrize(("error", "code"), REGISTRY_ERRORS + BLOB_ERRORS, ids=lambda value: getattr(value, "name", type(value).__name__))
def test_an_error_becomes_its_status_with_message_and_reason(error, code):
    answer = from_library(error)
    assert answer is not None
    assert answer.code is code
    assert str(error) in str(answer)
    assert answer.reason.isupper()


@pytest.mark.parametrize(("error", "code"), REGISTRY_ERRORS, ids=lambda value: getattr(value, "name", type(value).__name__))
def test_an_error_of_the_registry_keeps_reason_and_facts(error, code):
    answer = from_library(error)
    assert answer is not None
    assert answer.reason == error.reason
    assert error.metadata.items() <= dict(answer.metadata).items() or code is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(("kind", "code"), SAID_BY_THE_RUNTIME.items())
def test_what_the_runtime_says_for_all_servers_is_left_to_it(kind, code):
    error = kind("it is down") if kind is blob_store.StoreUnavailable else kind(2, 1)
    assert from_library(error) is None
    assert status_of(error, "request").code == code.value[0]


def test_what_no_library_raises_on_purpose_is_left_alone():
    assert from_library(ValueError("bug")) is None
