"""Signing on save and verifying on load, through the registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.linear_model import LinearRegression

from model_management import ModelRegistry, SignatureVerdict, create_registry
from model_management.errors import InvalidValue, ModelNotFound
from model_management.signed_versions import verify_version
from model_management.signing import SignatureInvalid, SigningFailed, make_key_pair
from tests.unit.model_management_formats.conftest import Data


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ModelRegistry]:
    with create_registry("local", path=tmp_path / "registry") as made:
        yield made


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    return tmp_path / "private.pem", tmp_path / "public.pem"


@pytest.fixture
def model(data: Data) -> LinearRegression:
    return LinearRegression().fit(data.matrix, data.number)


def test_a_signed_model_is_loaded_by_who_has_the_public_key(
    registry: ModelRegistry, model: LinearRegression, keys: tuple[Path, Path], data: Data
) -> None:
    version = registry.save_model(model, "signed", signing_key=keys[0])
    assert "model.sig" in [entry.path for entry in version.files]
    loaded = registry.load_model("signed", verify_with=keys[1])
    assert (loaded.predict(data.matrix) == model.predict(data.matrix)).all()
    assert registry.verify_model("signed", keys[1]).version == version.version


def test_an_unsigned_model_and_one_signed_by_another_are_refused(
    registry: ModelRegistry, model: LinearRegression, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    registry.save_model(model, "unsigned")
    with pytest.raises(SignatureInvalid, match="is not signed"):
        registry.load_model("unsigned", verify_with=keys[1])
    make_key_pair(tmp_path / "other.pem", tmp_path / "other.pub")
    registry.save_model(model, "signed", signing_key=tmp_path / "other.pem")
    with pytest.raises(SignatureInvalid):
        registry.load_model("signed", verify_with=keys[1])


def test_a_version_whose_files_were_exchanged_is_refused(registry: ModelRegistry, model: LinearRegression, keys: tuple[Path, Path]) -> None:
    version = registry.save_model(model, "signed", signing_key=keys[0])
    first, *others = (entry for entry in version.files if entry.path != "model.sig")
    signature = next(entry for entry in version.files if entry.path == "model.sig")
    forged = [
        replace(version, files=(replace(first, digest="sha256:" + "0" * 64), *others, signature)),
        replace(version, files=(*others, signature)),
        replace(version, files=(*version.files, replace(first, path="added.pkl"))),
        replace(version, model="another"),
    ]
    for one in forged:
        with pytest.raises(SignatureInvalid):
            verify_version(one, keys[1], registry.storage)


def test_a_registry_that_trusts_a_key_says_what_signatures_are_worth(
    model: LinearRegression, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    make_key_pair(tmp_path / "other.pem", tmp_path / "other.pub")
    with create_registry("local", path=tmp_path / "registry", trusted_keys=[keys[1]]) as registry:
        registry.save_model(model, "m")
        registry.save_model(model, "m", signing_key=keys[0], alias="signed")
        registry.save_model(model, "m", signing_key=tmp_path / "other.pem", stage="staging")

        assert registry.check_model("m", 1).signature.verdict is SignatureVerdict.UNSIGNED
        assert registry.check_model("m", alias="signed").signature.verdict is SignatureVerdict.VALID
        assert registry.check_model("m", stage="staging").signature.verdict is SignatureVerdict.UNTRUSTED
    with create_registry("local", path=tmp_path / "registry") as registry:
        checked = registry.check_model("m", 2)
        assert (checked.is_intact, checked.is_signed, checked.signature.verdict) == (True, True, SignatureVerdict.UNTRUSTED)


def test_a_key_that_cannot_be_trusted_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SigningFailed, match="missing"):
        create_registry("local", path=tmp_path, trusted_keys=[tmp_path / "missing.pem"])
    with pytest.raises(InvalidValue, match="trusted_keys"):
        create_registry("grpc", url="http://127.0.0.1:1", token="t", trusted_keys=[tmp_path / "missing.pem"])


def test_a_key_that_cannot_sign_saves_nothing(registry: ModelRegistry, model: LinearRegression, tmp_path: Path) -> None:
    with pytest.raises(SigningFailed):
        registry.save_model(model, "signed", signing_key=tmp_path / "missing.pem")
    with pytest.raises(ModelNotFound):
        registry.get_model("signed")


def test_what_is_downloaded_is_verified_by_the_tool_of_openssf(
    registry: ModelRegistry, model: LinearRegression, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    registry.save_model(model, "signed", signing_key=keys[0])
    registry.download("signed", tmp_path / "signed")
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(tmp_path / "signed")]
    command += ["--signature", str(tmp_path / "signed" / "model.sig"), "--public_key", str(keys[1])]
    assert subprocess.run(command, timeout=120).returncode == 0
