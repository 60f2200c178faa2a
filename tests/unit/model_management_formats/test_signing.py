from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from model_management.signing import (
    SignatureCheck,
    SignatureInvalid,
    SignatureVerdict,
    SigningFailed,
    check_digests,
    digests_of_folder,
    make_key_pair,
    sign_digests,
    sign_folder,
    trusted_key,
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


def fingerprint_of(public_key: Path) -> str:
    return f"sha256:{hashlib.sha256(public_key.read_bytes()).hexdigest()}"


def test_a_check_names_the_trusted_key_that_signed(keys: tuple[Path, Path], tmp_path: Path) -> None:
    make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    trusted = [trusted_key(tmp_path / "public.pem"), trusted_key(keys[1])]

    found = check_digests(DIGESTS, sign_digests(DIGESTS, keys[0], name="m"), trusted, name="m")

    signer = fingerprint_of(keys[1])
    assert found == SignatureCheck(SignatureVerdict.VALID, key_fingerprint=signer, claimed_key_fingerprint=signer, signed_model="m")


def test_a_check_without_the_signers_key_names_the_key_only_as_a_claim(keys: tuple[Path, Path], tmp_path: Path) -> None:
    make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    bundle = sign_digests(DIGESTS, keys[0])

    for trusted in ([], [trusted_key(tmp_path / "public.pem")]):
        found = check_digests(DIGESTS, bundle, trusted)
        assert (found.verdict, found.key_fingerprint, found.signed_model) == (SignatureVerdict.UNTRUSTED, "", "")
        assert found.claimed_key_fingerprint == fingerprint_of(keys[1])


def test_a_check_names_every_file_that_is_not_as_it_was_signed(keys: tuple[Path, Path]) -> None:
    signed = dict.fromkeys(("same", "changed", "removed"), DIGESTS["model.onnx"])
    bundle = sign_digests(signed, keys[0], name="m")
    stored = {"same": signed["same"], "changed": "sha256:" + "00" * 32, "added": signed["same"]}

    found = check_digests(stored, bundle, [trusted_key(keys[1])], name="m")

    assert (found.verdict, found.mismatched_paths) == (SignatureVerdict.MISMATCHED, ("added", "changed", "removed"))
    assert (found.key_fingerprint, found.signed_model) == (fingerprint_of(keys[1]), "m")
    assert check_digests({}, bundle, [trusted_key(keys[1])]).mismatched_paths == ("changed", "removed", "same")


def test_a_check_of_another_model_tells_which_one_was_signed(keys: tuple[Path, Path]) -> None:
    found = check_digests(DIGESTS, sign_digests(DIGESTS, keys[0], name="harmless"), [trusted_key(keys[1])], name="payments")

    assert (found.verdict, found.signed_model, found.mismatched_paths) == (SignatureVerdict.MISMATCHED, "harmless", ())


@pytest.mark.parametrize("bundle", [b"", b"{}", b"not json", b"[]", b'{"dsseEnvelope": {}}', b"\xff\xfe", b"[" * 100_000])
def test_a_check_of_what_is_no_signature_says_so_whoever_is_trusted(keys: tuple[Path, Path], bundle: bytes) -> None:
    for trusted in ([], [trusted_key(keys[1])]):
        assert check_digests(DIGESTS, bundle, trusted).verdict is SignatureVerdict.UNREADABLE


def changed_claim(bundle: bytes, hint: Any) -> bytes:
    parsed = json.loads(bundle)
    parsed["verificationMaterial"]["publicKey"] = {"hint": hint} if hint is not None else {}
    return json.dumps(parsed).encode()


def test_who_claims_a_trusted_key_is_not_trusted_for_that(keys: tuple[Path, Path], tmp_path: Path) -> None:
    make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    forged = changed_claim(sign_digests(DIGESTS, tmp_path / "private.pem"), fingerprint_of(keys[1]).removeprefix("sha256:"))

    found = check_digests(DIGESTS, forged, [trusted_key(keys[1])])

    assert (found.verdict, found.key_fingerprint) == (SignatureVerdict.UNTRUSTED, "")
    assert "names a trusted key, which has not made it" in found.problem


@pytest.mark.parametrize("hint", [None, "", "x" * 5000, 7, ["a"]])
def test_a_signature_that_does_not_name_its_key_is_nobodys_or_the_trusted_ones(keys: tuple[Path, Path], hint: Any) -> None:
    bundle = changed_claim(sign_digests(DIGESTS, keys[0]), hint)

    found = check_digests(DIGESTS, bundle, [trusted_key(keys[1])])

    assert found.claimed_key_fingerprint == ""
    assert found.verdict is (SignatureVerdict.UNTRUSTED if hint else SignatureVerdict.VALID)


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_longer_elliptic_keys_are_trusted_too(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    plain = serialization.NoEncryption()
    (tmp_path / "private.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    (tmp_path / "public.pem").write_bytes(pem_of(key.public_key()))
    bundle = sign_digests(DIGESTS, tmp_path / "private.pem")

    assert check_digests(DIGESTS, bundle, [trusted_key(tmp_path / "public.pem")]).verdict is SignatureVerdict.VALID


def test_keys_of_other_kinds_cannot_be_trusted(tmp_path: Path) -> None:
    (tmp_path / "rsa.pem").write_bytes(pem_of(rsa.generate_private_key(65537, 2048).public_key()))
    (tmp_path / "k1.pem").write_bytes(pem_of(ec.generate_private_key(ec.SECP256K1()).public_key()))
    make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    for name in ("rsa.pem", "k1.pem", "private.pem", "missing.pem"):
        with pytest.raises(SigningFailed, match=rf"{name}.* cannot be used to verify"):
            trusted_key(tmp_path / name)


def pem_of(key: Any) -> bytes:
    made: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return made


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
