"""Models and versions of a registry server: pages, repeats, conflicts, garbage."""

from __future__ import annotations

import os
import uuid

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from mlops.registry.v1 import model_pb2
from mlops.registry.v1 import registry_service_pb2 as pb


@pytest.fixture
def project():
    return f"p-{uuid.uuid4().hex[:8]}"


def test_pages_follow_one_another_and_a_token_is_good_for_its_own_list_only(served, stub, refused, project):
    for _ in range(5):
        served.save("paged", b"content", project)
    request = pb.ListModelVersionsRequest(model="paged", project=project, page_size=2, order_by="version")
    numbers, sizes, token = [], [], ""
    while True:
        page = stub.ListModelVersions(pb.ListModelVersionsRequest(**{**fields(request), "page_token": token}))
        numbers += [version.version for version in page.versions]
        sizes.append(len(page.versions))
        if not page.next_page_token:
            break
        token = page.next_page_token
    assert (numbers, sizes) == ([1, 2, 3, 4, 5], [2, 2, 1])
    other = pb.ListModelVersionsRequest(**{**fields(request), "page_token": token, "filter": "version > 2"})
    refusal = refused(lambda: stub.ListModelVersions(other))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")


def fields(message):
    return {field.name: value for field, value in message.ListFields()}


def test_a_wrong_filter_says_what_is_allowed(stub, refused, project):
    refusal = refused(lambda: stub.SearchModelVersions(pb.SearchModelVersionsRequest(project=project, filter="nonsense = 1")))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "stage" in refusal.metadata["allowed"]


def test_a_repeated_request_makes_one_version(served, stub, refused, project):
    version = model_pb2.ModelVersion(files=[served.upload(os.urandom(20), project)])
    request = pb.CreateModelVersionRequest(model="once", project=project, version=version, create_model=True, request_id=str(uuid.uuid4()))
    first = stub.CreateModelVersion(request)
    assert stub.CreateModelVersion(request) == first
    assert stub.GetModel(pb.GetModelRequest(name="once", project=project)).version_count == 1
    request.version.description = "something else"
    assert refused(lambda: stub.CreateModelVersion(request)).reason == "REQUEST_ID_REUSED"


def test_a_change_of_what_has_changed_since_is_aborted(served, stub, refused, project):
    saved = served.save("edited", b"content", project)

    def update(description: str, etag: str) -> model_pb2.ModelVersion:
        version = model_pb2.ModelVersion(model="edited", version=1, project=project, description=description, etag=etag)
        return stub.UpdateModelVersion(pb.UpdateModelVersionRequest(version=version, update_mask=FieldMask(paths=["description"])))

    changed = update("first", saved.etag)
    assert (changed.description, changed.etag == saved.etag) == ("first", False)
    refusal = refused(lambda: update("late", saved.etag))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    assert refusal.metadata["etag"] == changed.etag
    # Without an etag the last one wins.
    assert update("last", "").description == "last"


def test_files_never_change(served, stub, refused, project):
    served.save("fixed", b"content", project)
    version = model_pb2.ModelVersion(model="fixed", version=1, project=project, format="onnx")
    refusal = refused(
        lambda: stub.UpdateModelVersion(pb.UpdateModelVersionRequest(version=version, update_mask=FieldMask(paths=["format"])))
    )
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_version_of_a_blob_that_is_not_stored_is_refused(stub, refused, project, digest_of):
    file = model_pb2.ModelFile(path="weights.bin", digest=digest_of(os.urandom(9)), size_bytes=9)
    request = pb.CreateModelVersionRequest(model="hollow", project=project, version=model_pb2.ModelVersion(files=[file]), create_model=True)
    refusal = refused(lambda: stub.CreateModelVersion(request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "BLOBS_MISSING")
    assert refusal.metadata["digest"] == file.digest
    assert refused(lambda: stub.GetModel(pb.GetModelRequest(name="hollow", project=project))).code is grpc.StatusCode.NOT_FOUND


def test_an_alias_keeps_its_version_from_being_deleted(served, stub, refused, project):
    served.save("kept", b"content", project)
    stub.SetAlias(pb.SetAliasRequest(model="kept", project=project, alias="champion", version=1))
    request = pb.DeleteModelVersionRequest(model="kept", project=project, version=1)
    assert refused(lambda: stub.DeleteModelVersion(request)).reason == "MODEL_VERSION_HAS_ALIASES"
    stub.DeleteAlias(pb.DeleteAliasRequest(model="kept", project=project, alias="champion"))
    stub.DeleteModelVersion(request)
    assert refused(lambda: stub.GetModelVersion(pb.GetModelVersionRequest(model="kept", project=project, version=1))).reason == (
        "MODEL_VERSION_NOT_FOUND"
    )
    restored = stub.RestoreModelVersion(pb.RestoreModelVersionRequest(model="kept", project=project, version=1))
    assert restored.state == model_pb2.MODEL_VERSION_STATE_READY


def test_a_dry_run_of_the_garbage_collection_takes_nothing_away(served, stub, project):
    file = served.upload(os.urandom(50), project)
    (stored,) = served.data_dir.rglob(f"{file.digest[7:9]}/{file.digest[9:]}")
    os.utime(stored, (1, 1))
    found = stub.CollectGarbage(pb.CollectGarbageRequest(validate_only=True))
    assert (found.removed_blob_count, found.freed_bytes) == (1, 50)
    assert stub.CollectGarbage(pb.CollectGarbageRequest(validate_only=True)) == found
    assert stub.CollectGarbage(pb.CollectGarbageRequest()) == found
    assert list(stub.CheckBlobs(pb.CheckBlobsRequest(digests=[file.digest])).missing_digests) == [file.digest]


def test_who_may_not_write_is_refused(served, refused, project):
    reader = served.stub({project: ["registry.models.read"]})
    request = pb.CreateModelRequest(model=model_pb2.Model(name="m", project=project))
    assert refused(lambda: reader.CreateModel(request)).code is grpc.StatusCode.PERMISSION_DENIED
    elsewhere = pb.GetModelRequest(name="m", project="default")
    assert refused(lambda: reader.GetModel(elsewhere)).code is grpc.StatusCode.PERMISSION_DENIED
