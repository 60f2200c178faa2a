"""What a registry server says that the signature of a version is worth."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from mlops.registry.v1 import model_pb2
from mlops.registry.v1 import registry_service_pb2 as pb

from model_management.signing import make_key_pair, sign_digests
from servers.registry.composition import build
from servers.registry.settings import RegistrySettings

FILES = {"model.onnx": b"onnx", "weights/a.bin": b"weights"}


@pytest.fixture
def strangers_key(tmp_path):
    make_key_pair(tmp_path / "stranger.pem", tmp_path / "stranger.pub")
    return tmp_path / "stranger.pem"


@pytest.fixture
def signature(served, digest_of):
    """Signs files as the version of a model; with the key that the server trusts, by default."""

    def sign(model, key=None, files=FILES):
        return sign_digests({path: digest_of(content) for path, content in files.items()}, key or served.release_key, name=model)

    return sign


@pytest.fixture
def saved(served, stub):
    """Saves files as the first version of a model."""

    def save(model, files):
        entries = [
            model_pb2.ModelFile(path=path, digest=file.digest, size_bytes=file.size_bytes)
            for path, file in ((path, served.upload(content)) for path, content in files.items())
        ]
        version = model_pb2.ModelVersion(files=entries)
        stub.CreateModelVersion(pb.CreateModelVersionRequest(model=model, version=version, create_model=True))

    return save


@pytest.fixture
def verified(stub):
    return lambda model: stub.VerifyModelVersion(pb.VerifyModelVersionRequest(model=model, version=1))


def fingerprint_of(public_key: Path) -> str:
    return f"sha256:{hashlib.sha256(public_key.read_bytes()).hexdigest()}"


def change_on_disk(served, digest) -> None:
    digits = digest.removeprefix("sha256:")
    (stored,) = served.data_dir.rglob(f"{digits[:2]}/{digits[2:]}")
    stored.chmod(0o600)
    stored.write_bytes(bytes([stored.read_bytes()[0] ^ 1]) + stored.read_bytes()[1:])


def test_a_version_signed_by_a_trusted_key_is_valid_and_names_the_key(served, saved, verified, signature):
    saved("valid", FILES | {"model.sig": signature("valid")})

    found = verified("valid")

    signer = fingerprint_of(served.release_key.with_suffix(".pub"))
    assert (found.intact, found.signed) == (True, True)
    assert found.signature == pb.ModelSignatureCheck(
        verdict=pb.MODEL_SIGNATURE_VERDICT_VALID, key_fingerprint=signer, claimed_key_fingerprint=signer, signed_model="valid"
    )


def test_a_version_without_a_signature_is_unsigned(saved, verified):
    saved("unsigned", FILES)

    found = verified("unsigned")

    assert (found.intact, found.signed) == (True, False)
    assert found.signature == pb.ModelSignatureCheck(verdict=pb.MODEL_SIGNATURE_VERDICT_UNSIGNED)


def test_a_strangers_signature_is_not_trusted_and_her_key_is_named_as_a_claim(saved, verified, signature, strangers_key):
    saved("strange", FILES | {"model.sig": signature("strange", strangers_key)})

    found = verified("strange")

    assert (found.intact, found.signed, found.signature.verdict) == (True, True, pb.MODEL_SIGNATURE_VERDICT_UNTRUSTED)
    assert found.signature.key_fingerprint == ""
    assert found.signature.claimed_key_fingerprint == fingerprint_of(strangers_key.with_suffix(".pub"))


def test_a_stored_file_that_was_tampered_with_is_not_what_was_signed(served, saved, verified, signature, digest_of):
    files = FILES | {"weights/a.bin": b"only of the tampered one"}
    saved("tampered", files | {"model.sig": signature("tampered", files=files)})
    assert verified("tampered").signature.verdict == pb.MODEL_SIGNATURE_VERDICT_VALID

    change_on_disk(served, digest_of(files["weights/a.bin"]))
    found = verified("tampered")

    assert (found.intact, list(found.damaged_paths)) == (False, ["weights/a.bin"])
    assert found.signature.verdict == pb.MODEL_SIGNATURE_VERDICT_MISMATCHED
    assert list(found.signature.mismatched_paths) == ["weights/a.bin"]


def test_a_version_with_other_files_than_those_signed_names_each(saved, verified, signature):
    """Whole, and as it was saved: whoever saved it put a genuine signature beside files of her own."""
    saved("exchanged", {"model.onnx": b"evil", "added.pkl": b"evil", "model.sig": signature("exchanged")})

    found = verified("exchanged")

    assert found.intact
    assert found.signature.verdict == pb.MODEL_SIGNATURE_VERDICT_MISMATCHED
    assert list(found.signature.mismatched_paths) == ["added.pkl", "model.onnx", "weights/a.bin"]


def test_a_signature_of_another_model_is_not_taken_for_this_one(saved, verified, signature):
    saved("payments", FILES | {"model.sig": signature("harmless")})

    found = verified("payments").signature

    assert (found.verdict, found.signed_model) == (pb.MODEL_SIGNATURE_VERDICT_MISMATCHED, "harmless")
    assert list(found.mismatched_paths) == []


def test_what_is_no_signature_or_a_damaged_one_is_unreadable(served, saved, verified, signature, digest_of):
    saved("nonsense", FILES | {"model.sig": b"signed, honestly"})
    assert verified("nonsense").signature.verdict == pb.MODEL_SIGNATURE_VERDICT_UNREADABLE

    bundle = signature("rotten")
    saved("rotten", FILES | {"model.sig": bundle})
    change_on_disk(served, digest_of(bundle))
    found = verified("rotten")
    assert (list(found.damaged_paths), found.signature.verdict) == (["model.sig"], pb.MODEL_SIGNATURE_VERDICT_UNREADABLE)


def test_a_version_of_nothing_but_a_signature_is_not_valid(saved, verified, signature):
    saved("alone", {"model.sig": signature("alone")})

    assert verified("alone").signature.verdict == pb.MODEL_SIGNATURE_VERDICT_MISMATCHED


def test_a_server_with_a_key_that_it_cannot_use_does_not_start(tmp_path):
    (tmp_path / "key.pem").write_text("nothing")
    with pytest.raises(ValueError, match=r"MLMESH_REGISTRY_TRUSTED_KEYS: the key '.*key\.pem' cannot be used"):
        build(RegistrySettings(data_dir=tmp_path, trusted_keys=(tmp_path / "key.pem",)))
