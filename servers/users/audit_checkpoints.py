"""Signed checkpoints of the audit log, in a file outside of the database.

Whoever can write the database can cut the end of the log off; with a checkpoint from before that shows. The signature (Ed25519) lets the
file be copied to places that are not trusted, and be checked there with the public key in each line.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from servers.users.audit_log import Checkpoint
from servers.users.secret_files import read_secret, write_secret

SEED_BYTES = 32
"""Size of the Ed25519 seed."""

_LOGGER = logging.getLogger(__name__)
_LINES_KEPT = 1000
_BROKEN = "broken"


class CheckpointFile:
    """Keeps checkpoints.

    Args:
        path: The file, one JSON object a line, newest last.
        seed: 32 bytes that make the signing key.
        clock: The time now.
    """

    def __init__(self, path: Path, seed: bytes, clock: Callable[[], datetime]) -> None:
        self._path = path
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._clock = clock
        self._lock = threading.Lock()

    def add(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint, unless it is the last one or the log is empty."""
        with self._lock:
            lines = (read_secret(self._path) or b"").splitlines()
            last = _parsed(lines[-1]) if lines else {}
            if not checkpoint.sequence or last.get("hash") == checkpoint.hash:
                return
            time = self._clock().isoformat()
            line = {
                "sequence": checkpoint.sequence,
                "hash": checkpoint.hash,
                "time": time,
                "signature": self._key.sign(_statement(checkpoint.sequence, checkpoint.hash, time)).hex(),
                "public_key": self._key.public_key().public_bytes_raw().hex(),
            }
            kept = [*lines[-(_LINES_KEPT - 1) :], json.dumps(line, separators=(",", ":")).encode("ascii")]
            write_secret(self._path, b"\n".join(kept) + b"\n")
        # In the log too: where logs are collected elsewhere, that is one more place to compare with.
        _LOGGER.info("audit checkpoint: sequence %d, hash %s", checkpoint.sequence, checkpoint.hash)

    def read(self) -> Iterator[Checkpoint]:
        """The checkpoints. One that cannot be read or is not ours has a hash that no event has, so that verification fails at it."""
        sequence = 0
        for raw in (read_secret(self._path) or b"").splitlines():
            line = _parsed(raw)
            stated = line.get("sequence")
            sequence = stated if isinstance(stated, int) and stated > 0 else sequence + 1
            yield Checkpoint(sequence, str(line["hash"]) if self._is_ours(line) else _BROKEN)

    def _is_ours(self, line: dict[str, object]) -> bool:
        try:
            signature = bytes.fromhex(str(line["signature"]))
            self._key.public_key().verify(signature, _statement(line["sequence"], line["hash"], line["time"]))
        except (KeyError, ValueError, InvalidSignature):
            return False
        return True


def _parsed(raw: bytes) -> dict[str, object]:
    try:
        line = json.loads(raw)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _statement(sequence: object, digest: object, time: object) -> bytes:
    return f"mlmesh audit checkpoint\n{sequence}\n{digest}\n{time}\n".encode()
