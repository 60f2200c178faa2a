"""What a mesh says that the signature of a version is worth: over REST, in Python, and on the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_management import ModelRegistry, SignatureVerdict, create_registry
from model_management.signing import make_key_pair
from tests.whole_mesh import WholeMesh, run_mlmesh, whole_mesh


@dataclass(frozen=True)
class Keys:
    """One key that the mesh trusts, and one that it does not."""

    trusted: Path
    stranger: Path

    @property
    def trusted_fingerprint(self) -> str:
        return f"sha256:{hashlib.sha256(self.trusted.with_suffix('.pub').read_bytes()).hexdigest()}"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    folder = tmp_path_factory.mktemp("keys")
    keys = Keys(folder / "trusted.pem", folder / "stranger.pem")
    for private in (keys.trusted, keys.stranger):
        make_key_pair(private, private.with_suffix(".pub"))
    return keys


@pytest.fixture(scope="module")
def mesh(keys: Keys) -> Iterator[WholeMesh]:
    with whole_mesh({"MLMESH_REGISTRY_TRUSTED_KEYS": json.dumps([str(keys.trusted.with_suffix(".pub"))])}) as running:
        yield running


@pytest.fixture(scope="module")
def registry(mesh: WholeMesh, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelRegistry]:
    """The library's registry over the mesh, with a model whose versions are signed in every way."""
    folder = tmp_path_factory.mktemp("model")
    with create_registry("grpc", url=mesh.url, token=mesh.token) as registry:
        for content, key in (("valid", keys.trusted), ("tampered", keys.trusted), ("untrusted", keys.stranger), ("unsigned", None)):
            (folder / "weights.txt").write_text(content)
            registry.save_model(folder, "m", alias=content, signing_key=key)
        tampered = next(file for file in registry.resolve("m", alias="tampered").files if file.path.endswith("weights.txt"))
        digits = tampered.digest.removeprefix("sha256:")
        (stored,) = mesh.data_dir.rglob(f"{digits[:2]}/{digits[2:]}")
        stored.chmod(0o600)
        stored.write_text("TAMPERED")
        yield registry


EXPECTED = {
    "valid": (True, "VALID"),
    "tampered": (False, "MISMATCHED"),
    "untrusted": (True, "UNTRUSTED"),
    "unsigned": (True, "UNSIGNED"),
}


@pytest.mark.parametrize("alias", EXPECTED)
def test_the_library_over_a_mesh_tells_what_a_signature_is_worth(registry: ModelRegistry, keys: Keys, alias: str) -> None:
    found = registry.check_model("m", alias=alias)

    assert (found.is_intact, found.signature.verdict) == (EXPECTED[alias][0], SignatureVerdict[EXPECTED[alias][1]])
    is_by_trusted = alias in {"valid", "tampered"}
    assert found.signature.key_fingerprint == (keys.trusted_fingerprint if is_by_trusted else "")


@pytest.mark.parametrize("alias", EXPECTED)
def test_rest_tells_what_a_signature_is_worth(mesh: WholeMesh, registry: ModelRegistry, alias: str) -> None:
    version = registry.resolve("m", alias=alias).version

    answer = mesh.request("POST", f"/api/v1/models/m/versions/{version}:verify", json={})

    assert answer.status_code == 200
    body = answer.json()
    assert (body["intact"], body["signature"]["verdict"]) == (EXPECTED[alias][0], f"MODEL_SIGNATURE_VERDICT_{EXPECTED[alias][1]}")


@pytest.mark.parametrize(
    ("alias", "exit_code", "exit_code_if_to_be_signed", "printed"),
    [
        ("valid", 0, 0, "intact; signed by the trusted key sha256:"),
        ("tampered", 1, 1, "weights.txt; signature mismatched: files were changed"),
        ("untrusted", 0, 1, "intact; signature untrusted: it is by the key sha256:"),
        ("unsigned", 0, 1, "intact; not signed"),
    ],
)
def test_the_command_line_tells_and_fails_where_it_should(
    mesh: WholeMesh, registry: ModelRegistry, alias: str, exit_code: int, exit_code_if_to_be_signed: int, printed: str
) -> None:
    command = ("models", "verify", "m", str(registry.resolve("m", alias=alias).version), "--data-dir", str(mesh.data_dir))

    plain, strict = run_mlmesh(*command), run_mlmesh(*command, "--signed", "--json")

    assert (plain.returncode, strict.returncode) == (exit_code, exit_code_if_to_be_signed)
    assert printed in plain.stdout + plain.stderr
    assert json.loads(strict.stdout)["signature"]["verdict"] == f"MODEL_SIGNATURE_VERDICT_{EXPECTED[alias][1]}"


def test_a_mesh_with_a_key_that_it_cannot_use_does_not_start_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("nothing")
    environment = {"MLMESH_REGISTRY_TRUSTED_KEYS": json.dumps([str(tmp_path / "key.pem")])}

    done = run_mlmesh("up", "--detach", "--port", "0", "--data-dir", str(tmp_path / "data"), environment=environment)

    assert done.returncode == 1
    assert "MLMESH_REGISTRY_TRUSTED_KEYS" in done.stderr
    assert "key.pem" in done.stderr
