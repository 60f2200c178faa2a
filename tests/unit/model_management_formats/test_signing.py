from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from model_management.signing import (
    SignatureInvalid,
    SigningFailed,
    digests_of_folder,
    make_key_pair,
    sign_digests,
    sign_folder,
    verify_digests,
    verify_folder,
)

DIGESTS = {"model.onnx": "sha256:" + "ab" * 32, "files/a b.txt": "sha256:" + "cd" * 32}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("keys")
    make_key_pair(folder / "private.pem", folder / "public.pem")
    return folder / "private.pem", folder / "public.pem"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "my_model"
    (folder / "files").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "files" / "notes.txt").write_bytes(b"notes")
    return folder


def test_what_was_signed_verifies(keys: tuple[Path, Path]) -> None:
    private, public = keys
    bundle = sign_digests(DIGESTS, private, name="my_model")
    verify_digests(dict(reversed(DIGESTS.items())), bundle, public, name="my_model")


@pytest.mark.parametrize(
    ("digests", "what"),
    [
        ({**DIGESTS, "model.onnx": "sha256:" + "ac" * 32}, "model.onnx"),
        ({"model.onnx": DIGESTS["model.onnx"]}, "a b.txt"),
        ({**DIGESTS, "evil.pkl": "sha256:" + "00" * 32}, "evil.pkl"),
    ],
    ids=["changed", "missing", "added"],
)
def test_a_changed_a_missing_and_an_added_file_are_named(keys: tuple[Path, Path], digests: dict[str, str], what: str) -> None:
    bundle = sign_digests(DIGESTS, keys[0])
    with pytest.raises(SignatureInvalid, match=what):
        verify_digests(digests, bundle, keys[1])


def test_another_key_has_not_signed_it(keys: tuple[Path, Path], tmp_path: Path) -> None:
    make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    with pytest.raises(SignatureInvalid):
        verify_digests(DIGESTS, sign_digests(DIGESTS, keys[0]), tmp_path / "public.pem")


def test_a_signature_cannot_be_moved_to_another_model(keys: tuple[Path, Path]) -> None:
    bundle = sign_digests(DIGESTS, keys[0], name="harmless")
    with pytest.raises(SignatureInvalid, match="'harmless', not 'payments'"):
        verify_digests(DIGESTS, bundle, keys[1], name="payments")


@pytest.mark.parametrize("part", ["subject", "predicate"])
def test_a_statement_that_was_changed_does_not_verify(keys: tuple[Path, Path], part: str) -> None:
    bundle = json.loads(sign_digests(DIGESTS, keys[0]))
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    if part == "subject":
        statement["subject"][0]["name"] = "other"
    else:
        statement["predicate"]["resources"][0]["name"] = "other"
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    with pytest.raises(SignatureInvalid):
        verify_digests(DIGESTS, json.dumps(bundle).encode(), keys[1])


@pytest.mark.parametrize("bundle", [b"", b"{}", b"not json", b"[]", b'{"dsseEnvelope": {}}', b"\xff\xfe"])
def test_what_is_no_signature_is_not_valid(keys: tuple[Path, Path], bundle: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        verify_digests(DIGESTS, bundle, keys[1])


def test_a_folder_is_signed_and_verified_with_every_file_in_it(keys: tuple[Path, Path], model: Path) -> None:
    bundle = sign_folder(model, keys[0])
    verify_folder(model, bundle, keys[1], name="my_model")
    verify_digests(digests_of_folder(model), bundle, keys[1])
    (model / "files" / "added.txt").touch()
    with pytest.raises(SignatureInvalid, match=r"added\.txt"):
        verify_folder(model, bundle, keys[1])


def test_a_link_is_not_signed(model: Path) -> None:
    (model / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="'link' is a link"):
        digests_of_folder(model)


def test_the_tool_of_openssf_verifies_our_signature(keys: tuple[Path, Path], model: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes(sign_folder(model, keys[0]))
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(model)]
    command += ["--signature", str(tmp_path / "bundle.json"), "--public_key", str(keys[1])]
    assert subprocess.run(command, timeout=120).returncode == 0
    (model / "model.onnx").write_bytes(b"changed")
    assert subprocess.run(command, timeout=120).returncode != 0


def test_we_verify_a_signature_by_the_tool_of_openssf(keys: tuple[Path, Path], model: Path, tmp_path: Path) -> None:
    signature = tmp_path / "bundle.json"
    command = [sys.executable, "-m", "model_signing", "sign", "key", str(model)]
    command += ["--signature", str(signature), "--private_key", str(keys[0])]
    subprocess.run(command, timeout=120, check=True)
    verify_folder(model, signature.read_bytes(), keys[1])


def test_files_that_the_signer_chose_to_ignore_are_not_ignored_by_us(keys: tuple[Path, Path], model: Path, tmp_path: Path) -> None:
    signature = tmp_path / "bundle.json"
    (model / "unsigned.pkl").touch()
    command = [sys.executable, "-m", "model_signing", "sign", "key", str(model), "--ignore-paths", str(model / "unsigned.pkl")]
    command += ["--signature", str(signature), "--private_key", str(keys[0])]
    subprocess.run(command, timeout=120, check=True)
    with pytest.raises(SignatureInvalid, match=r"unsigned\.pkl"):
        verify_folder(model, signature.read_bytes(), keys[1])


def test_a_private_key_is_secret_and_never_overwritten(tmp_path: Path) -> None:
    make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    assert (tmp_path / "private.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")


def test_a_key_with_a_password_signs_with_it_only(tmp_path: Path) -> None:
    make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem", password="secret")
    verify_digests(DIGESTS, sign_digests(DIGESTS, tmp_path / "private.pem", password="secret"), tmp_path / "public.pem")
    for password in (None, "wrong"):
        with pytest.raises(SigningFailed, match=r"private\.pem"):
            sign_digests(DIGESTS, tmp_path / "private.pem", password=password)


def test_what_is_no_key_cannot_be_used(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    (tmp_path / "key.pem").write_text("nothing")
    for path in (tmp_path / "key.pem", tmp_path / "missing.pem"):
        with pytest.raises(SigningFailed, match="cannot be used to sign"):
            sign_digests(DIGESTS, path)
        with pytest.raises(SigningFailed, match="cannot be used to verify"):
            verify_digests(DIGESTS, sign_digests(DIGESTS, keys[0]), path)


@pytest.mark.parametrize(
    "digests",
    [
        {},
        {"": DIGESTS["model.onnx"]},
        {"/a": DIGESTS["model.onnx"]},
        {"../a": DIGESTS["model.onnx"]},
        {"a//b": DIGESTS["model.onnx"]},
        {"a": "x"},
    ],
)
def test_malformed_digests_are_refused(keys: tuple[Path, Path], digests: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"no files|not a path|not a digest"):
        sign_digests(digests, keys[0])
