"""Signatures of models after OpenSSF Model Signing, over the digests by which the registry knows the files.

A signature is a Sigstore bundle (JSON) with the digest of every file, signed with an elliptic key. Whoever has the files in a folder can
check it with ``model_signing verify key`` and without us. Since content is stored by its SHA-256 anyway, nothing is hashed a second time:
signing and verifying take milliseconds for any size (ADR 0026).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib.util
import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

from model_management.errors import RegistryError

__all__ = [
    "MOST_SIGNATURE_BYTES",
    "SIGNATURE_FILE",
    "SignatureCheck",
    "SignatureInvalid",
    "SignatureVerdict",
    "SigningFailed",
    "TrustedKey",
    "check_digests",
    "digests_of_folder",
    "make_key_pair",
    "sign_digests",
    "sign_folder",
    "trusted_key",
    "verify_digests",
    "verify_folder",
]

SIGNATURE_FILE = "model.sig"
"""The signature of a version, one of its files and over all others."""

MOST_SIGNATURE_BYTES = 16 << 20
"""A signature has about 150 bytes a file."""

_PREFIX = "sha256:"
_HINT = re.compile(r"[0-9a-f]{64}")
_SHOWN_PATHS = 5


class SignatureInvalid(RegistryError):
    """The signature is missing, not by this key, or not over these files. The text says which files differ."""

    reason = "SIGNATURE_INVALID"


class SigningFailed(RegistryError):
    """Nothing was signed or verified: the key cannot be used, or a package is missing."""

    reason = "SIGNING_FAILED"


class SignatureVerdict(Enum):
    """What a check of a signature found."""

    UNSIGNED = "UNSIGNED"
    """There is no signature."""
    VALID = "VALID"
    """A trusted key has signed exactly these files, for this model."""
    UNTRUSTED = "UNTRUSTED"
    """There is a signature, and no trusted key has made it."""
    MISMATCHED = "MISMATCHED"
    """A trusted key has signed something else: other files, or another model."""
    UNREADABLE = "UNREADABLE"
    """What should be the signature is damaged, or is none."""


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """The public half of a key whose signatures count; see `trusted_key`.

    Args:
        fingerprint: SHA-256 of the PEM, ``sha256:<hex>``: what OpenSSF signatures name their key by, and ``sha256sum public.pem`` prints.
        pem: The key, normalized.
    """

    fingerprint: str
    pem: bytes


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """Whether and by whom files are signed.

    Args:
        verdict: The outcome.
        key_fingerprint: The trusted key that made the signature; empty unless VALID or MISMATCHED.
        claimed_key_fingerprint: The key that the signature says has made it. Anybody can write anything there.
        signed_model: Name of the model that was signed; empty unless VALID or MISMATCHED.
        mismatched_paths: Files that are not as they were signed: changed, added, or missing. Empty unless MISMATCHED.
        problem: What is wrong, for people; empty where nothing is.
    """

    verdict: SignatureVerdict
    key_fingerprint: str = ""
    claimed_key_fingerprint: str = ""
    signed_model: str = ""
    mismatched_paths: tuple[str, ...] = ()
    problem: str = ""


def trusted_key(public_key: Path) -> TrustedKey:
    """Read a key to verify with, and find out whether verifying is possible at all.

    Args:
        public_key: PEM of an elliptic public key (P-256, P-384 or P-521).

    Raises:
        SigningFailed: If the key cannot be used, or ``model-signing`` is not installed.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_public_key(public_key.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        raise SigningFailed(f"the key {str(public_key)!r} cannot be used to verify: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
        raise SigningFailed(f"the key {str(public_key)!r} cannot be used to verify: it is not an elliptic key of P-256, P-384 or P-521")
    if importlib.util.find_spec("model_signing") is None:
        raise _not_installed()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return TrustedKey(_PREFIX + hashlib.sha256(pem).hexdigest(), pem)


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


def check_digests(digests: Mapping[str, str], bundle: bytes, keys: Sequence[TrustedKey], *, name: str | None = None) -> SignatureCheck:
    """Find out whether a trusted key has signed exactly these files.

    Args:
        digests: Path inside of the artifact to ``sha256:<hex>``. They have to be true: take them from where content is verified.
        bundle: What `sign_digests` returned, or any tool of OpenSSF Model Signing.
        keys: Whose signatures count.
        name: What the model has to be called in the signature; not looked at by default.

    Raises:
        SigningFailed: If ``model-signing`` is not installed.
    """
    if len(bundle) > MOST_SIGNATURE_BYTES:
        return SignatureCheck(SignatureVerdict.UNREADABLE, problem=f"the signature is larger than {MOST_SIGNATURE_BYTES:,} bytes")
    try:
        claimed = _claimed_key(bundle)
    except (ValueError, RecursionError) as error:
        return SignatureCheck(SignatureVerdict.UNREADABLE, problem=f"it is no signature: {error}")
    # A signature that names its key holds for no other one.
    for key in (one for one in keys if claimed in ("", one.fingerprint)):
        signed = _signed_by(key, bundle)
        if signed is not None:
            return _compared(digests, name, key, claimed, signed)
    if not keys:
        problem = "no key is trusted, so nobody can say whose signature it is"
    elif claimed in (key.fingerprint for key in keys):
        problem = "it names a trusted key, which has not made it"
    else:
        problem = f"it is by {f'the key {claimed}' if claimed else 'a key'} that is not trusted"
    return SignatureCheck(SignatureVerdict.UNTRUSTED, claimed_key_fingerprint=claimed, problem=problem)


def verify_digests(digests: Mapping[str, str], bundle: bytes, public_key: Path, *, name: str | None = None) -> None:
    """Check that a key has signed exactly these files; see `check_digests`.

    Args:
        digests: Path inside of the artifact to ``sha256:<hex>``. They have to be true: take them from where content is verified.
        bundle: What `sign_digests` returned, or any tool of OpenSSF Model Signing.
        public_key: PEM of the signer's public half.
        name: What the model has to be called in the signature; not looked at by default.

    Raises:
        SignatureInvalid: If not.
        SigningFailed: If the key cannot be used, or ``model-signing`` is not installed.
        ValueError: If there are no files, or a path or digest is malformed.
    """
    _items(digests)
    found = check_digests(digests, bundle, [trusted_key(public_key)], name=name)
    if found.verdict is not SignatureVerdict.VALID:
        raise SignatureInvalid(f"the signature does not hold: {found.problem}")


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
    """Stands where the library hashes a folder to sign, and gives it the digests that are known already."""

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


@dataclass(frozen=True, slots=True)
class _Signed:
    """What a key has signed.

    Args:
        name: Of the model.
        digests: Of its files, ``<algorithm>:<hex>``.
    """

    name: str
    digests: Mapping[str, str]


class _Captured:
    """Stands where the library hashes a folder to verify, and keeps what it is compared with: the statement whose signature holds.

    The library would say no more than that something differs, and a second reading of the bundle could differ from its own.
    """

    signed: _Signed | None = None

    def hash(self, model_path: Path, *, files_to_hash: object = None) -> _Captured:
        """Return what takes part in the comparison; called only after the signature has been verified."""
        del model_path, files_to_hash
        return self

    def add_ignored_paths(self, *, model_path: Path, paths: object) -> None:
        """Ignore nothing: files that the signer left out are files that nobody signed."""
        del model_path, paths

    def __eq__(self, other: object) -> bool:
        manifest: Any = other
        digests = {item.identifier: f"{item.digest.algorithm}:{item.digest.digest_hex}" for item in manifest.resource_descriptors()}
        self.signed = _Signed(str(manifest.model_name), digests)
        return True


def _signed_by(key: TrustedKey, bundle: bytes) -> _Signed | None:
    """Return what a key has signed; None where the signature is not by it."""
    _, verifying = _library()
    captured = _Captured()
    with tempfile.TemporaryDirectory() as folder:
        # The library reads files only.
        bundle_file, key_file = Path(folder) / "bundle.json", Path(folder) / "public.pem"
        bundle_file.write_bytes(bundle)
        key_file.write_bytes(key.pem)
        config = verifying.Config().use_elliptic_key_verifier(public_key=key_file)
        try:
            config.set_hashing_config(captured).verify(Path("model"), bundle_file)
        except Exception:
            # The library raises ValueError, InvalidSignature, KeyError, and what its JSON models raise.
            return None
    return captured.signed


def _compared(digests: Mapping[str, str], name: str | None, key: TrustedKey, claimed: str, signed: _Signed) -> SignatureCheck:
    changed = sorted(path for path in digests.keys() | signed.digests.keys() if digests.get(path) != signed.digests.get(path))
    problems: list[str] = []
    if changed:
        shown = ", ".join(map(repr, changed[:_SHOWN_PATHS])) + (f" and {len(changed) - _SHOWN_PATHS} more" * (len(changed) > _SHOWN_PATHS))
        problems.append(f"files were changed, added or removed since it was made: {shown}")
    if name is not None and signed.name != name:
        problems.append(f"it is for the model {signed.name!r}, not {name!r}")
    return SignatureCheck(
        SignatureVerdict.MISMATCHED if problems else SignatureVerdict.VALID,
        key_fingerprint=key.fingerprint,
        claimed_key_fingerprint=claimed,
        signed_model=signed.name,
        mismatched_paths=tuple(changed),
        problem="; ".join(problems),
    )


def _claimed_key(bundle: bytes) -> str:
    """Return which key a bundle says it is signed with; empty where it does not say.

    Raises:
        ValueError: If it is no Sigstore bundle around an in-toto statement.
    """
    parsed = json.loads(bundle)
    try:
        base64.b64decode(parsed["dsseEnvelope"]["payload"], validate=True)
        material = parsed["verificationMaterial"]
        hint = material.get("publicKey", {}).get("hint") or ""
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise ValueError("it is no Sigstore bundle with a statement and a key") from error
    return _PREFIX + hint if isinstance(hint, str) and _HINT.fullmatch(hint) else ""


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


def _library() -> tuple[Any, Any]:
    try:
        # Takes a second, for whoever signs or verifies only.
        from model_signing import signing, verifying
    except ImportError as error:
        raise _not_installed() from error
    return signing, verifying


def _not_installed() -> SigningFailed:
    return SigningFailed("model-signing is not installed: pip install 'mlmesh[signing]'")
