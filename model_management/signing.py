"""Signatures of models after OpenSSF Model Signing, over the digests by which the registry knows the files.

A signature is a Sigstore bundle (JSON) with the digest of every file, signed with an elliptic key. Whoever has the files in a folder can
check it with ``model_signing verify key`` and without us. Since content is stored by its SHA-256 anyway, nothing is hashed a second time:
signing and verifying take milliseconds for any size (ADR 0026).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from model_management.errors import RegistryError

__all__ = [
    "SignatureInvalid",
    "SigningFailed",
    "digests_of_folder",
    "make_key_pair",
    "sign_digests",
    "sign_folder",
    "verify_digests",
    "verify_folder",
]

_PREFIX = "sha256:"
_MOST_BUNDLE_BYTES = 16 << 20
"""A bundle has about 150 bytes a file."""


class SignatureInvalid(RegistryError):
    """The signature is missing, not by this key, or not over these files. The text says which files differ."""

    reason = "SIGNATURE_INVALID"


class SigningFailed(RegistryError):
    """Nothing was signed or verified: the key cannot be used, or a package is missing."""

    reason = "SIGNING_FAILED"


def make_key_pair(private_key: Path, public_key: Path, *, password: str | None = None) -> None:
    """Make a key to sign with (P-256) and write both halves as PEM.

    Args:
        private_key: Where the secret half goes; readable by nobody else, and never overwritten.
        public_key: Where the half for verifiers goes.
        password: Encrypts the private half.

    Raises:
        FileExistsError: If there is a private key already.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    descriptor = os.open(private_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    public_key.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def sign_digests(digests: Mapping[str, str], private_key: Path, *, name: str = "model", password: str | None = None) -> bytes:
    """Sign files by their digests.

    Args:
        digests: Path inside of the artifact (with ``/``) to ``sha256:<hex>``.
        private_key: PEM of an elliptic key (P-256, P-384 or P-521).
        name: Of the model; it is signed, too, so that a signature cannot be moved to another model.
        password: Of the private key.

    Returns:
        The bundle, as JSON.

    Raises:
        SigningFailed: If the key cannot be used, or ``model-signing`` is not installed.
        ValueError: If there are no files, or a path or digest is malformed.
    """
    items = _items(digests)
    signing, _ = _library()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle.json"
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=private_key, password=password.encode() if password else None)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise SigningFailed(f"the key {private_key.name!r} cannot be used to sign: {error}") from error
        config.set_hashing_config(_KnownDigests(name, items)).sign(Path(name), bundle)
        return bundle.read_bytes()


def verify_digests(digests: Mapping[str, str], bundle: bytes, public_key: Path, *, name: str | None = None) -> None:
    """Check that a key has signed exactly these files.

    Args:
        digests: Path inside of the artifact to ``sha256:<hex>``. They have to be true: take them from where content is verified.
        bundle: What `sign_digests` returned, or any tool of OpenSSF Model Signing.
        public_key: PEM of the signer's public half.
        name: What the model has to be called in the signature; not looked at by default.

    Raises:
        SignatureInvalid: If not.
        SigningFailed: If the key cannot be used, or ``model-signing`` is not installed.
    """
    items = _items(digests)
    _, verifying = _library()
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, AttributeError) as error:
        raise SigningFailed(f"the key {public_key.name!r} cannot be used to verify: {error}") from error
    if len(bundle) > _MOST_BUNDLE_BYTES:
        raise SignatureInvalid(f"the signature is larger than {_MOST_BUNDLE_BYTES:,} bytes")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle.json"
        path.write_bytes(bundle)
        try:
            config.set_hashing_config(_KnownDigests("model", items)).verify(Path("model"), path)
        except Exception as error:
            # The library raises ValueError, InvalidSignature, KeyError, and what its JSON models raise.
            raise SignatureInvalid(f"the signature does not hold: {str(error) or type(error).__name__}") from error
    if name is not None and (signed := _signed_name(bundle)) != name:
        raise SignatureInvalid(f"the signature is for the model {signed!r}, not {name!r}")


def sign_folder(folder: Path, private_key: Path, *, name: str | None = None, password: str | None = None) -> bytes:
    """Sign every file of a folder; see `sign_digests`. The name is that of the folder by default."""
    return sign_digests(digests_of_folder(folder), private_key, name=name or folder.resolve().name, password=password)


def verify_folder(folder: Path, bundle: bytes, public_key: Path, *, name: str | None = None) -> None:
    """Check that a key has signed every file of a folder and that there is no other file in it; see `verify_digests`."""
    verify_digests(digests_of_folder(folder), bundle, public_key, name=name)


def digests_of_folder(folder: Path) -> dict[str, str]:
    """Return the digest of each file of a folder by its path in it.

    Raises:
        ValueError: If there is a link or a device among them, of which no digest tells what will be read.
    """
    digests: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            raise ValueError(f"{path.relative_to(folder).as_posix()!r} is a link or a device; only plain files are signed")
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = _PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
    return digests


class _KnownDigests:
    """Stands where the library hashes a folder, and gives it the digests that are known already."""

    def __init__(self, name: str, items: Mapping[str, bytes]) -> None:
        self._name = name
        self._items = items

    def hash(self, model_path: Path, *, files_to_hash: object = None) -> Any:
        """Return the manifest of the known digests."""
        del model_path, files_to_hash
        import model_signing.manifest

        manifest: Any = model_signing.manifest
        kind = manifest.SerializationType.from_args({"method": "files", "hash_type": "sha256", "allow_symlinks": False})
        items = [kind.new_item(path, manifest.hashing.Digest("sha256", digest)) for path, digest in self._items.items()]
        return manifest.Manifest(self._name, items, kind)

    def add_ignored_paths(self, *, model_path: Path, paths: object) -> None:
        """Ignore nothing: files that the signer left out are files that nobody signed."""
        del model_path, paths


def _items(digests: Mapping[str, str]) -> dict[str, bytes]:
    if not digests:
        raise ValueError("there are no files to sign")
    for path, digest in digests.items():
        pure = PurePosixPath(path)
        if not path or pure.is_absolute() or ".." in pure.parts or str(pure) != path:
            raise ValueError(f"{path!r} is not a path inside of an artifact")
        if not digest.startswith(_PREFIX) or len(digest) != len(_PREFIX) + 64:
            raise ValueError(f"{digest!r} is not a digest; a digest is 'sha256:' and 64 hexadecimal digits")
    return {path: bytes.fromhex(digest.removeprefix(_PREFIX)) for path, digest in digests.items()}


def _signed_name(bundle: bytes) -> str:
    """Return the name in a bundle whose signature has been verified."""
    statement = json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
    return str(statement["subject"][0]["name"])


def _library() -> tuple[Any, Any]:
    try:
        # Takes a second, for whoever signs or verifies only.
        from model_signing import signing, verifying
    except ImportError as error:
        raise SigningFailed("model-signing is not installed: pip install 'mlmesh[signing]'") from error
    return signing, verifying
