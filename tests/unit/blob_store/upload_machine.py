"""A model of resumable uploads, for Hypothesis to compare a store with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from blob_store import BlobNotFound, BlobStore, DigestMismatch, OffsetMismatch, UploadIncomplete, UploadNotFound, sha256_of


class Interruption(Exception):
    """The connection of a sender breaks."""


def upload_machine(new_store: Callable[[], Callable[[], BlobStore]], scale: int) -> type[RuleBasedStateMachine]:
    """Make the machine.

    Args:
        new_store: Makes an empty store and returns what opens it, each time as another process would.
        scale: Bytes of one unit; contents are up to 40 units long.
    """

    class UploadMachine(RuleBasedStateMachine):
        @initialize(content=st.binary(max_size=40), is_honest=st.booleans(), is_announced=st.booleans())
        def begin(self, content: bytes, is_honest: bool, is_announced: bool) -> None:
            self.reopen = new_store()
            self.store = self.reopen()
            self.content = b"".join(bytes([byte]) * scale for byte in content)
            self.is_honest = is_honest or not content
            self.digest = sha256_of(self.content)
            self.sent = b""
            self.state = "open"
            self.announced = self.digest if is_announced else None
            self.upload_id = self.store.begin_upload(self.announced, len(self.content))

        def piece(self, units: int) -> bytes:
            piece = self.content[len(self.sent) : len(self.sent) + units * scale]
            return piece if self.is_honest or not piece else bytes([piece[0] ^ 1]) + piece[1:]

        @precondition(lambda self: self.state == "open")
        @rule(units=st.integers(0, 40), cut=st.integers(1, 5))
        def append(self, units: int, cut: int) -> None:
            piece = self.piece(units)
            chunks = [piece[start : start + cut * scale] for start in range(0, len(piece), cut * scale)]
            assert self.store.append(self.upload_id, len(self.sent), chunks) == len(self.sent) + len(piece)
            self.sent += piece

        @precondition(lambda self: self.state == "open")
        @rule(units=st.integers(0, 40))
        def append_interrupted(self, units: int) -> None:
            piece = self.piece(units)

            def chunks() -> Iterator[bytes]:
                yield piece
                raise Interruption

            with pytest.raises(Interruption):
                self.store.append(self.upload_id, len(self.sent), chunks())
            self.sent += piece

        @precondition(lambda self: self.state == "open")
        @rule(offset=st.integers(-1, 41))
        def append_elsewhere(self, offset: int) -> None:
            if offset * scale == len(self.sent):
                return
            with pytest.raises(OffsetMismatch) as caught:
                self.store.append(self.upload_id, offset * scale, [b"?"])
            assert caught.value.current_offset == len(self.sent)

        @rule()
        def go_on_in_another_process(self) -> None:
            self.store = self.reopen()

        @rule(tells=st.sampled_from(["nothing", "the digest", "another digest"]))
        def complete(self, tells: str) -> None:
            told = {"nothing": None, "the digest": self.digest, "another digest": sha256_of(b"another content")}[tells]
            expected = told or self.announced
            if self.state == "gone" or (self.state == "stored" and expected != self.digest):
                with pytest.raises(UploadNotFound):
                    self.store.complete(self.upload_id, told)
            elif self.state == "open" and len(self.sent) < len(self.content):
                with pytest.raises(UploadIncomplete):
                    self.store.complete(self.upload_id, told)
            elif self.state == "open" and expected is None:
                with pytest.raises(ValueError, match="no digest was announced"):
                    self.store.complete(self.upload_id, told)
            elif self.state == "open" and sha256_of(self.sent) != expected:
                with pytest.raises(DigestMismatch):
                    self.store.complete(self.upload_id, told)
                self.state = "gone"
            else:
                blob = self.store.complete(self.upload_id, told)
                assert (blob.digest, blob.size_bytes) == (self.digest, len(self.content))
                self.state = "stored"

        @precondition(lambda self: self.state == "open")
        @rule()
        def abort(self) -> None:
            self.store.abort_upload(self.upload_id)
            self.state = "gone"

        @invariant()
        def the_store_shows_what_the_model_says(self) -> None:
            if not hasattr(self, "state"):
                return
            if self.state == "open":
                upload = self.store.upload(self.upload_id)
                assert (upload.digest, upload.size_bytes, upload.offset) == (self.announced, len(self.content), len(self.sent))
            else:
                with pytest.raises(UploadNotFound):
                    self.store.upload(self.upload_id)
            found = None
            with contextlib.suppress(BlobNotFound):
                found = self.store.open(self.digest).read_all()
            assert found == (self.content if self.state == "stored" else None)

    return UploadMachine
