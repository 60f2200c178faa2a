"""Bytes in and out of a registry server."""

from __future__ import annotations

import io
import os
import tarfile
import threading
import uuid
from collections.abc import Iterator

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from mlops.registry.v1 import model_pb2
from mlops.registry.v1 import registry_service_pb2 as pb


def download(stub, digest, offset_bytes=0, project="", **options):
    messages = list(stub.DownloadBlob(pb.DownloadBlobRequest(project=project, digest=digest, offset_bytes=offset_bytes, **options)))
    assert messages[-1].WhichOneof("message") == "end"
    assert messages[-1].end.status.code == 0
    return b"".join(message.data for message in messages[:-1])


def artifact(stub, model, version, path=""):
    bodies = list(stub.DownloadArtifact(pb.DownloadArtifactRequest(model=model, version=version, path=path)))
    return {body.content_type for body in bodies}, b"".join(body.data for body in bodies)


@pytest.fixture
def content():
    return os.urandom(3_000_000)


def test_an_upload_that_broke_off_goes_on_where_it_stands(served, stub, content, digest_of):
    upload = stub.BeginUpload(pb.BeginUploadRequest(digest=digest_of(content), size_bytes=len(content)))
    may_end = threading.Event()

    def broken() -> Iterator[pb.UploadBlobRequest]:
        yield pb.UploadBlobRequest(upload_id=upload.id, data=content[:1_000_000])
        yield pb.UploadBlobRequest(data=content[1_000_000:2_000_000])
        may_end.wait(60)

    def offset() -> int:
        return stub.BeginUpload(pb.BeginUploadRequest(digest=digest_of(content), size_bytes=len(content), upload_id=upload.id)).offset_bytes

    call = stub.UploadBlob.future(broken())
    wait_until(lambda: offset() == 2_000_000)
    call.cancel()
    may_end.set()
    # The server may still hold the upload for as long as it takes to notice.
    again = stub.BeginUpload(pb.BeginUploadRequest(digest=digest_of(content), size_bytes=len(content), upload_id=upload.id))
    assert (again.id, again.offset_bytes, again.complete) == (upload.id, 2_000_000, False)
    done = stub.UploadBlob(iter([pb.UploadBlobRequest(upload_id=upload.id, offset_bytes=2_000_000, data=content[2_000_000:])]))
    assert (done.offset_bytes, done.complete) == (len(content), True)
    assert stub.BeginUpload(pb.BeginUploadRequest(digest=digest_of(content), size_bytes=len(content))).complete
    served.save("resumed", content)
    assert download(stub, digest_of(content)) == content


def wait_until(condition, deadline_s=20.0):
    tick = threading.Event()
    for _ in range(int(deadline_s / 0.02)):
        if condition():
            return
        tick.wait(0.02)
    raise AssertionError(f"not within {deadline_s} s")


def test_another_offset_than_the_upload_has_reached_is_refused_with_the_right_one(stub, refused, digest_of):
    content = os.urandom(1000)
    upload = stub.BeginUpload(pb.BeginUploadRequest(digest=digest_of(content), size_bytes=len(content)))
    refusal = refused(lambda: stub.UploadBlob(iter([pb.UploadBlobRequest(upload_id=upload.id, offset_bytes=500, data=content[500:])])))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_OFFSET_MISMATCH")
    assert refusal.metadata["current_offset"] == "0"


def test_bytes_of_another_digest_are_refused_and_not_stored(stub, refused, digest_of):
    announced, sent = digest_of(os.urandom(64)), os.urandom(64)
    upload = stub.BeginUpload(pb.BeginUploadRequest(digest=announced, size_bytes=64))
    refusal = refused(lambda: stub.UploadBlob(iter([pb.UploadBlobRequest(upload_id=upload.id, data=sent)])))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "DIGEST_MISMATCH")
    assert (refusal.metadata["expected"], refusal.metadata["actual"]) == (announced, digest_of(sent))
    asked = [announced, digest_of(sent)]
    assert list(stub.CheckBlobs(pb.CheckBlobsRequest(digests=asked)).missing_digests) == asked


def begun(stub, size_bytes, digest="", upload_id=""):
    return stub.BeginUpload(pb.BeginUploadRequest(digest=digest, size_bytes=size_bytes, upload_id=upload_id))


def send(stub, upload_id, data, offset_bytes=0):
    return stub.UploadBlob(iter([pb.UploadBlobRequest(upload_id=upload_id, offset_bytes=offset_bytes, data=data)]))


def test_the_digest_may_come_after_the_bytes(stub, content, digest_of):
    upload = begun(stub, len(content))
    assert (upload.digest, upload.offset_bytes, upload.complete) == ("", 0, False)
    half = send(stub, upload.id, content[:1_000_000])
    assert (half.offset_bytes, half.complete) == (1_000_000, False)
    whole = send(stub, upload.id, content[1_000_000:], 1_000_000)
    assert (whole.id, whole.offset_bytes, whole.complete) == (upload.id, len(content), False)
    assert list(stub.CheckBlobs(pb.CheckBlobsRequest(digests=[digest_of(content)])).missing_digests) == [digest_of(content)]
    for _ in range(2):  # the answer to the first may be lost
        done = begun(stub, len(content), digest_of(content), upload.id)
        assert (done.digest, done.offset_bytes, done.complete) == (digest_of(content), len(content), True)
    assert not stub.CheckBlobs(pb.CheckBlobsRequest(digests=[digest_of(content)])).missing_digests


def test_a_digest_that_comes_before_the_last_byte_completes_nothing_yet(stub, content, digest_of):
    upload = begun(stub, len(content))
    send(stub, upload.id, content[:1_000_000])
    told = begun(stub, len(content), digest_of(content), upload.id)
    assert (told.id, told.offset_bytes, told.complete) == (upload.id, 1_000_000, False)
    assert not send(stub, upload.id, content[1_000_000:], 1_000_000).complete
    assert begun(stub, len(content), digest_of(content), upload.id).complete


def test_a_wrong_digest_told_at_the_end_takes_the_upload_away(stub, refused, digest_of):
    sent, told = os.urandom(64), digest_of(os.urandom(64))
    upload = begun(stub, 64)
    send(stub, upload.id, sent)
    refusal = refused(lambda: begun(stub, 64, told, upload.id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "DIGEST_MISMATCH")
    assert (refusal.metadata["expected"], refusal.metadata["actual"]) == (told, digest_of(sent))
    assert refused(lambda: begun(stub, 64, digest_of(sent), upload.id)).reason == "UPLOAD_NOT_FOUND"


def test_what_was_sent_of_a_blob_that_is_stored_meanwhile_is_dropped(served, stub, content, refused, digest_of):
    upload = begun(stub, len(content))
    send(stub, upload.id, content[:1_000_000])
    served.upload(content)
    assert begun(stub, len(content), digest_of(content), upload.id).complete
    assert refused(lambda: begun(stub, len(content), "", upload.id)).reason == "UPLOAD_NOT_FOUND"


def test_an_upload_is_not_gone_on_with_for_another_blob(stub, refused, digest_of):
    upload = begun(stub, 64, digest_of(b"one"))
    refusal = refused(lambda: begun(stub, 64, digest_of(b"two"), upload.id))
    assert (refusal.code, [*refusal.violations]) == (grpc.StatusCode.INVALID_ARGUMENT, ["digest"])
    refusal = refused(lambda: begun(stub, 65, digest_of(b"one"), upload.id))
    assert (refusal.code, [*refusal.violations]) == (grpc.StatusCode.INVALID_ARGUMENT, ["size_bytes"])


def test_an_upload_that_is_unknown_or_says_nothing_is_refused(stub, refused):
    refusal = refused(lambda: stub.UploadBlob(iter([pb.UploadBlobRequest(upload_id=str(uuid.uuid4()), data=b"x")])))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "UPLOAD_NOT_FOUND")
    assert refused(lambda: stub.UploadBlob(iter([]))).code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_blob_larger_than_the_server_takes_is_refused_before_a_byte_is_sent(stub, refused, digest_of):
    refusal = refused(lambda: stub.BeginUpload(pb.BeginUploadRequest(digest=digest_of(b"large"), size_bytes=8_000_001)))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "8,000,000" in refusal.violations["size_bytes"]


@pytest.mark.parametrize("offset_bytes", [0, 1, 1_048_576, 2_999_999, 3_000_000])
def test_a_blob_is_read_from_any_offset(served, stub, content, digest_of, offset_bytes):
    served.save("offsets", content)
    assert download(stub, digest_of(content), offset_bytes) == content[offset_bytes:]


def test_an_offset_behind_the_end_is_refused(served, stub, refused, digest_of):
    served.save("short", b"short")
    refusal = refused(lambda: download(stub, digest_of(b"short"), 6))
    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "5 bytes" in refusal.violations["offset_bytes"]


def test_a_blob_of_another_project_is_not_found(served, stub, refused, digest_of):
    content = os.urandom(100)
    served.save("mine", content, project="one")
    assert download(stub, digest_of(content), project="one") == content
    refusal = refused(lambda: download(stub, digest_of(content), project="two"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "BLOB_NOT_FOUND")


def test_a_blob_that_no_version_refers_to_is_not_readable(served, stub, refused, digest_of):
    file = served.upload(os.urandom(100))
    assert refused(lambda: download(stub, file.digest)).reason == "BLOB_NOT_FOUND"


def test_files_are_put_one_at_a_time_until_the_version_is_ready(stub, refused, content, digest_of):
    pending = stub.CreateModelVersion(pb.CreateModelVersionRequest(model="put", version=model_pb2.ModelVersion(), create_model=True))
    assert pending.state == model_pb2.MODEL_VERSION_STATE_PENDING
    refusal = refused(lambda: stub.ResolveModelVersion(pb.ResolveModelVersionRequest(model="put", version=pending.version)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_VERSION_NOT_READY")

    def put(path: str, *pieces: bytes) -> model_pb2.ModelFile:
        first = pb.UploadArtifactRequest(model="put", version=pending.version, path=path, body=HttpBody(data=pieces[0]))
        rest = (pb.UploadArtifactRequest(body=HttpBody(data=piece)) for piece in pieces[1:])
        return stub.UploadArtifact(iter([first, *rest]))

    stored = put("deep/model.bin", content[:1_000_000], content[1_000_000:])
    assert (stored.digest, stored.size_bytes) == (digest_of(content), len(content))
    put("notes.txt", b"first")
    put("notes.txt", b"second")
    ready = stub.FinalizeModelVersion(pb.FinalizeModelVersionRequest(model="put", version=pending.version))
    assert ready.state == model_pb2.MODEL_VERSION_STATE_READY
    assert {file.path: file.digest for file in ready.files} == {"deep/model.bin": digest_of(content), "notes.txt": digest_of(b"second")}
    assert artifact(stub, "put", 1, "deep/model.bin") == ({"application/octet-stream"}, content)
    refusal = refused(lambda: put("late.txt", b"late"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ILLEGAL_TRANSITION")


def test_a_version_without_files_cannot_become_ready(stub, refused):
    stub.CreateModelVersion(pb.CreateModelVersionRequest(model="empty", version=model_pb2.ModelVersion(), create_model=True))
    refusal = refused(lambda: stub.FinalizeModelVersion(pb.FinalizeModelVersionRequest(model="empty", version=1)))
    assert refusal.code in {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT}


def test_all_files_come_as_one_tar_archive_that_is_the_same_each_time(served, stub, content):
    files = [served.upload(content), served.upload(b""), served.upload(b"note")]
    for file, path in zip(files, ["weights.bin", "empty", f"{'d' * 90}/{'ü' * 60}.txt"], strict=True):
        file.path = path
    version = model_pb2.ModelVersion(files=files)
    stub.CreateModelVersion(pb.CreateModelVersionRequest(model="packed", version=version, create_model=True))
    kinds, packed = artifact(stub, "packed", 1)
    assert kinds == {"application/x-tar"}
    assert artifact(stub, "packed", 1)[1] == packed
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        unpacked = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
    assert unpacked == {files[0].path: content, "empty": b"", files[2].path: b"note"}


def test_a_file_that_a_version_does_not_have_is_not_found_and_those_it_has_are_named(served, stub, refused):
    served.save("named", b"content")
    refusal = refused(lambda: artifact(stub, "named", 1, "nothing.bin"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "FILE_NOT_FOUND")
    assert "weights.bin" in refusal.message


def test_a_damaged_file_is_noticed_by_reader_and_check(served, stub, refused, content, digest_of):
    served.save("damaged", content)
    digits = digest_of(content).removeprefix("sha256:")
    (stored,) = served.data_dir.rglob(f"{digits[:2]}/{digits[2:]}")
    stored.chmod(0o600)
    damaged = content[:-1] + bytes([content[-1] ^ 1])
    stored.write_bytes(damaged)
    found = stub.VerifyModelVersion(pb.VerifyModelVersionRequest(model="damaged", version=1))
    assert (found.intact, list(found.damaged_paths)) == (False, ["weights.bin"])
    assert refused(lambda: download(stub, digest_of(content))).code is grpc.StatusCode.DATA_LOSS
    assert refused(lambda: artifact(stub, "damaged", 1)).code is grpc.StatusCode.DATA_LOSS
    assert download(stub, digest_of(content), verified_by_caller=True) == damaged
    stored.unlink()
    assert refused(lambda: download(stub, digest_of(content))).code is grpc.StatusCode.DATA_LOSS
    assert refused(lambda: artifact(stub, "damaged", 1, "weights.bin")).code is grpc.StatusCode.DATA_LOSS
