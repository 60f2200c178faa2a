"""What every registry that lives here does with blobs and time: versions whose files arrive one by one, retention, garbage.

A subclass brings a fixture `spec`, as for `registry_behaviour`, which here is a new registry for each test: garbage is collected over all
projects.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from blob_store import BlobNotFound, BlobStore, sha256_of
from model_management import FileEntry, Lineage, ModelRegistry, Retention, Stage, VersionReference, VersionState
from model_management.catalog import ModelCatalog
from model_management.errors import (
    BlobsMissing,
    FileDamaged,
    IllegalTransition,
    InvalidValue,
    ModelNotFound,
    VersionNotFound,
    VersionNotReady,
)
from model_management.model import NewVersion, VersionError
from model_management.signing import SignatureVerdict, make_key_pair, trusted_key
from tests.registry_racer import RegistrySpec, small_file


@dataclass
class Clock:
    """Tells the real time, moved ahead."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


RETENTION = Retention(deleted=timedelta(days=30), pending=timedelta(days=1), grace=timedelta(days=2))


class CollectionBehaviour:
    """The tests. Names of the fixtures that a subclass overrides: `spec`."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def registry(self, spec: RegistrySpec, clock: Clock) -> Iterator[ModelRegistry]:
        with spec.open(retention=RETENTION, clock=clock) as registry:
            yield registry

    @pytest.fixture
    def blobs(self, registry: ModelRegistry) -> BlobStore:
        return registry.storage.blobs

    @pytest.fixture
    def catalog(self, registry: ModelRegistry, blobs: BlobStore, clock: Clock) -> ModelCatalog:
        return ModelCatalog(registry.metadata_backend.backend, blobs, retention=RETENTION, clock=clock)

    def stored(self, blobs: BlobStore) -> set[str]:
        return {blob.digest for blob in blobs.iterate()}

    # Versions whose files arrive one by one.

    def test_a_version_waits_for_its_files_and_becomes_ready(self, catalog, blobs, registry):
        pending = catalog.register_version("default", "m", NewVersion(onnx_path="model.onnx"), create_model=True)
        assert (pending.state, pending.version, pending.digest) == (VersionState.PENDING, 1, "")
        with pytest.raises(VersionNotReady):
            registry.resolve("m", 1)
        with pytest.raises(VersionNotFound):
            registry.resolve("m")
        with pytest.raises(VersionNotReady):
            registry.set_alias("m", "a", 1)
        with pytest.raises(InvalidValue, match="none yet"):
            catalog.finalize_version("default", "m", 1)
        blob = blobs.put([b"weights"])
        catalog.attach_file("default", "m", 1, "weights.bin", blob.digest)
        with pytest.raises(InvalidValue, match=r"model\.onnx"):
            catalog.finalize_version("default", "m", 1)
        catalog.attach_file("default", "m", 1, "model.onnx", blob.digest)
        catalog.attach_file("default", "m", 1, "model.onnx", blobs.put([b"other weights"]).digest)
        ready = catalog.finalize_version("default", "m", 1)
        assert (ready.state, ready.size_bytes, [entry.path for entry in ready.files]) == (
            VersionState.READY,
            20,
            ["model.onnx", "weights.bin"],
        )
        assert catalog.finalize_version("default", "m", 1) == ready
        assert registry.resolve("m") == ready
        assert registry.get_model("m").latest_version == 1
        with pytest.raises(IllegalTransition, match="READY"):
            catalog.attach_file("default", "m", 1, "late.bin", blob.digest)
        with pytest.raises(IllegalTransition):
            registry.metadata_backend.backend.fail_version("default", "m", 1, VersionError("R", "m"))

    def test_a_version_from_stored_blobs_is_ready_at_once_and_needs_every_blob(self, catalog, blobs):
        blob = blobs.put([b"weights"])
        missing = FileEntry("b", sha256_of(b"never stored"), 3)
        with pytest.raises(BlobsMissing, match=missing.digest):
            catalog.register_version("default", "m", NewVersion(files=(missing,)), create_model=True)
        with pytest.raises(BlobsMissing):
            catalog.register_version("default", "m", NewVersion(files=(FileEntry("a", blob.digest, 8),)), create_model=True)
        with pytest.raises(ModelNotFound):
            catalog.register_version("default", "m", NewVersion(files=(FileEntry("a", blob.digest, 7),)))
        version = catalog.register_version("default", "m", NewVersion(files=(FileEntry("a", blob.digest, 7),)), create_model=True)
        assert version.state is VersionState.READY
        assert catalog.open_file(version, "a").read_all() == b"weights"
        assert catalog.open_file(version, "a", 3).read_all() == b"ghts"
        with pytest.raises(InvalidValue, match="no file 'b'"):
            catalog.open_file(version, "b")
        assert catalog.is_readable("default", blob.digest)
        assert not catalog.is_readable("other", blob.digest)

    def test_a_version_that_was_given_up_is_no_version_to_use(self, catalog, registry):
        backend = registry.metadata_backend.backend
        catalog.register_version("default", "m", NewVersion(), create_model=True)
        failed = backend.fail_version("default", "m", 1, VersionError("CHECKSUM", "the digest differs"))
        assert (failed.state, failed.error) == (VersionState.FAILED, VersionError("CHECKSUM", "the digest differs"))
        assert backend.fail_version("default", "m", 1, VersionError("AGAIN", "")) == failed
        assert registry.get_version("m", 1) == failed
        with pytest.raises(IllegalTransition, match="FAILED"):
            catalog.finalize_version("default", "m", 1)
        registry.delete_version("m", 1)
        assert registry.restore_version("m", 1).state is VersionState.FAILED

    def test_a_version_deleted_while_it_waited_comes_back_as_failed(self, catalog, registry):
        catalog.register_version("default", "m", NewVersion(), create_model=True)
        registry.delete_version("m", 1)
        assert registry.restore_version("m", 1).error.reason == "DELETED_WHILE_PENDING"

    # Damage.

    def test_damage_is_found_by_verifying_and_by_loading(self, catalog, blobs, registry, tmp_path):
        version = registry.save_model(small_file(tmp_path / "s", "weights"), "m")
        assert catalog.verify_version(version).is_intact
        assert catalog.verify_version(version).signature.verdict is SignatureVerdict.UNSIGNED
        lost = next(entry for entry in version.files if entry.path.endswith("weights.txt"))
        blobs.delete(lost.digest)
        assert catalog.verify_version(version).damaged_paths == (lost.path,)
        with pytest.raises(FileDamaged, match=r"weights\.txt"):
            registry.load_model("m")
        with pytest.raises(FileDamaged):
            catalog.open_file(version, lost.path)

    def test_a_signature_holds_for_what_is_stored_and_not_for_what_should_be(self, registry, blobs, tmp_path):
        make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
        trusting = ModelCatalog(registry.metadata_backend.backend, blobs, trusted_keys=[trusted_key(tmp_path / "public.pem")])
        version = registry.save_model(small_file(tmp_path / "s", "weights"), "m", signing_key=tmp_path / "private.pem")
        assert trusting.verify_version(version).signature.verdict is SignatureVerdict.VALID
        lost = next(entry for entry in version.files if entry.path.endswith("weights.txt"))
        blobs.delete(lost.digest)
        found = trusting.verify_version(version).signature
        assert (found.verdict, found.mismatched_paths) == (SignatureVerdict.MISMATCHED, (lost.path,))
        blobs.delete(next(entry for entry in version.files if entry.path == "model.sig").digest)
        assert trusting.verify_version(version).signature.verdict is SignatureVerdict.UNREADABLE

    # Retention and garbage.

    def test_what_versions_refer_to_is_never_garbage(self, registry, blobs, clock, tmp_path):
        registry.save_model(small_file(tmp_path / "s", "ready"), "m")
        registry.save_model(small_file(tmp_path / "s", "deleted"), "m")
        registry.delete_version("m", 2)
        registry.save_model(small_file(tmp_path / "s", "of a deleted model"), "n")
        registry.delete_model("n")
        before = self.stored(blobs)
        clock.ahead = timedelta(days=29)
        assert registry.collect_garbage().removed_blob_count == 0
        assert self.stored(blobs) == before
        registry.restore_model("n")
        assert registry.restore_version("m", 2).state is VersionState.READY
        assert (registry.load_model("m") / "weights.txt").read_text() == "deleted"

    def test_what_nothing_refers_to_is_garbage_after_the_grace_period(self, registry, blobs, clock):
        orphan = blobs.put([b"of a save that was interrupted"])
        assert registry.collect_garbage().removed_blob_count == 0
        clock.ahead = timedelta(days=2, hours=1)
        planned = registry.collect_garbage(dry_run=True)
        assert (planned.removed_blob_count, planned.freed_bytes) == (1, orphan.size_bytes)
        assert self.stored(blobs) == {orphan.digest}
        assert registry.collect_garbage() == planned
        assert self.stored(blobs) == set()

    def test_after_the_retention_versions_and_blobs_go_and_numbers_stay_used(self, registry, blobs, clock, tmp_path):
        kept = registry.save_model(small_file(tmp_path / "s", "one"), "m", tags={"a": "b"})
        registry.save_model(small_file(tmp_path / "s", "two"), "m", lineage=Lineage(parents=(VersionReference("m", 1),)))
        registry.save_model(small_file(tmp_path / "s", "three"), "gone", tags={"a": "b"}, metrics={"x": 1})
        registry.save_model(small_file(tmp_path / "s", "four"), "gone")
        registry.delete_version("m", 2)
        registry.delete_model("gone")
        clock.ahead = timedelta(days=31)
        planned = registry.collect_garbage(dry_run=True)
        report = registry.collect_garbage()
        assert planned == report
        assert (report.purged_version_count, report.purged_model_count) == (3, 1)
        assert self.stored(blobs) == {entry.digest for entry in kept.files}
        with pytest.raises(VersionNotFound):
            registry.get_version("m", 2, include_deleted=True)
        with pytest.raises(ModelNotFound):
            registry.get_model("gone", include_deleted=True)
        assert registry.save_model(small_file(tmp_path / "s", "five"), "m").version == 3
        assert registry.save_model(small_file(tmp_path / "s", "six"), "gone").version == 3
        assert registry.get_model("gone").version_count == 1
        assert registry.collect_garbage() == type(report)()

    def test_versions_that_waited_too_long_are_given_up_and_later_purged(self, catalog, registry, blobs, clock):
        catalog.register_version("default", "m", NewVersion(), create_model=True)
        catalog.attach_file("default", "m", 1, "half.bin", blobs.put([b"half"]).digest)
        clock.ahead = timedelta(hours=23)
        assert registry.collect_garbage().failed_version_count == 0
        clock.ahead = timedelta(days=2)
        assert registry.collect_garbage().failed_version_count == 1
        assert registry.get_version("m", 1).error.reason == "ABANDONED"
        assert registry.get_model("m").version_count == 1
        clock.ahead = timedelta(days=33)
        report = registry.collect_garbage()
        assert (report.purged_version_count, report.removed_blob_count) == (1, 1)
        assert registry.get_model("m").version_count == 0
        assert catalog.register_version("default", "m", NewVersion()).version == 2

    def test_a_blob_that_is_saved_again_is_not_garbage(self, registry, blobs, clock, tmp_path):
        registry.save_model(small_file(tmp_path / "s", "same"), "m")
        registry.delete_version("m", 1)
        clock.ahead = timedelta(days=31)
        registry.save_model(small_file(tmp_path / "s", "same"), "m")
        registry.collect_garbage()
        assert (registry.load_model("m") / "weights.txt").read_text() == "same"

    def test_old_blobs_are_held_while_a_version_comes_to_refer_to_them(self, catalog, registry, blobs, clock):
        blob = blobs.put([b"uploaded long ago"])
        clock.ahead = timedelta(days=10)
        holding, collected = threading.Event(), threading.Event()
        backend = registry.metadata_backend.backend

        class SlowBackend:
            """Creates a version only after a collection had time to begin."""

            def __getattr__(self, name):
                return getattr(backend, name)

            def create_version(self, *arguments, **options):
                holding.set()
                collected.wait(0.3)
                return backend.create_version(*arguments, **options)

        def collect() -> None:
            holding.wait(10)
            registry.collect_garbage()
            collected.set()

        thread = threading.Thread(target=collect)
        thread.start()
        slow = ModelCatalog(SlowBackend(), blobs, retention=RETENTION, clock=clock)
        slow.register_version("default", "m", NewVersion(files=(FileEntry("a", blob.digest, blob.size_bytes),)), create_model=True)
        thread.join()
        assert self.stored(blobs) == {blob.digest}

    def test_a_version_cannot_refer_to_a_blob_that_was_collected(self, catalog, registry, blobs, clock):
        blob = blobs.put([b"collected"])
        clock.ahead = timedelta(days=10)
        registry.collect_garbage()
        with pytest.raises(BlobsMissing):
            catalog.register_version("default", "m", NewVersion(files=(FileEntry("a", blob.digest, blob.size_bytes),)), create_model=True)
        with pytest.raises(BlobNotFound):
            blobs.stat(blob.digest)

    def test_saves_and_collections_at_once_lose_nothing(self, spec, tmp_path):
        # A grace period longer than a save and shorter than the test; deleted versions are purged at once.
        retention = Retention(deleted=timedelta(0), pending=timedelta(days=1), grace=timedelta(seconds=3))
        deadline = time.monotonic() + 8
        stop = threading.Event()
        failures: list[BaseException] = []
        kept: list[VersionReference] = []
        reports = []

        def collect() -> None:
            try:
                with spec.open(retention=retention) as registry:
                    while not stop.is_set():
                        reports.append(registry.collect_garbage())
            except BaseException as error:
                failures.append(error)

        def save(number: int) -> None:
            try:
                with spec.open(retention=retention) as registry:
                    for turn in count():
                        if time.monotonic() > deadline:
                            return
                        # Contents repeat, so that a save often finds its blob there, about to be collected.
                        saved = registry.save_model(small_file(tmp_path / f"s{number}", f"{turn % 50}"), f"m{number}")
                        if turn % 4:
                            registry.delete_version(saved.model, saved.version)
                        else:
                            kept.append(saved.reference)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=save, args=(number,)) for number in range(2)]
        collector = threading.Thread(target=collect)
        for thread in (collector, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        collector.join()
        if failures:
            raise failures[0]
        with spec.open(retention=retention) as registry:
            catalog = ModelCatalog(registry.metadata_backend.backend, registry.storage.blobs)
            versions = list(registry.search_versions())
            assert {version.reference for version in versions} == set(kept)
            assert len(kept) > 4
            assert sum(report.purged_version_count for report in reports) > 0
            assert [version.reference for version in versions if not catalog.verify_version(version).is_intact] == []

    def test_the_stage_of_a_version_survives_deletion(self, registry, tmp_path: Path):
        registry.save_model(small_file(tmp_path / "s", "x"), "m", stage="staging")
        registry.delete_version("m", 1)
        assert registry.restore_version("m", 1).stage is Stage.STAGING
