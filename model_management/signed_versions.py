"""Versions whose files somebody has signed.

The signature is a file of the version, ``model.sig``, over all other files: what is downloaded can be checked by
``model_signing verify key FOLDER --signature FOLDER/model.sig --public_key KEY`` without us.
"""

from __future__ import annotations

from pathlib import Path

from model_management.model import FileEntry, ModelVersion
from model_management.signing import MOST_SIGNATURE_BYTES, SIGNATURE_FILE, SignatureInvalid, sign_digests, verify_digests
from model_management.storage import ArtifactStorage

__all__ = ["sign_files", "verify_version"]


def sign_files(
    files: tuple[FileEntry, ...], name: str, private_key: str | Path, storage: ArtifactStorage, *, password: str | None = None
) -> tuple[FileEntry, ...]:
    """Sign the files of a version that is about to be created, and store the signature.

    Args:
        files: All files, stored already.
        name: Of the model; a signature for one model does not hold for another.
        private_key: PEM of an elliptic key.
        storage: Where the signature goes.
        password: Of the key.

    Returns:
        The files with the signature among them, sorted by path.

    Raises:
        SigningFailed: If the key cannot be used.
    """
    bundle = sign_digests({entry.path: entry.digest for entry in files}, Path(private_key), name=name, password=password)
    with storage.folder() as folder:
        (folder / SIGNATURE_FILE).write_bytes(bundle)
        return tuple(sorted((*files, *storage.keep(folder)), key=lambda entry: entry.path))


def verify_version(version: ModelVersion, public_key: str | Path, storage: ArtifactStorage) -> None:
    """Check that the owner of a key has signed exactly the files of a version, for this model.

    No file but the signature is read: each is verified against its digest whenever it is.

    Raises:
        SignatureInvalid: If there is no signature, or it does not hold.
        SigningFailed: If the key cannot be used.
    """
    found = version.file(SIGNATURE_FILE)
    if found is None:
        raise SignatureInvalid(f"version {version.version} of {version.model!r} is not signed")
    if found.size_bytes > MOST_SIGNATURE_BYTES:
        raise SignatureInvalid(f"the signature is larger than {MOST_SIGNATURE_BYTES:,} bytes")
    bundle = storage.blobs.open(found.digest).read_all()
    digests = {entry.path: entry.digest for entry in version.files if entry is not found}
    verify_digests(digests, bundle, Path(public_key), name=version.model)
