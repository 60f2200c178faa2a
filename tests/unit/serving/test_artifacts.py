from __future__ import annotations

import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from blob_store import LocalBlobStore
from servers.serving.artifacts import ArtifactCache
from servers.serving.batch_queue import BatchLimits
from servers.serving.errors import ModelLoadFailed, ModelNotServable, RegistryUnavailable
from servers.serving.loading import OnnxLoader
from servers.serving.metrics import ServingMetrics
from tests.small_mesh import onnx_models

BATCHES = BatchLimits(max_rows=16, max_bytes=1000, max_queued_rows=100, max_queued_calls=20)


@pytest.fixture
def store(tmp_path):
    return LocalBlobStore(tmp_path / "cache")


@pytest.fixture
def scratch(tmp_path) -> Path:
    return tmp_path / "loading"


@pytest.fixture
def cache(source, store, scratch):
    return ArtifactCache(source, store, scratch, max_cache_bytes=10_000_000, max_model_bytes=1_000_000)


def test_a_file_is_fetched_once(cache, source):
    model = onnx_models.linear()
    version = source.save("m", model_onnx=model, model_pkl=b"never fetched")

    for _ in range(2):
        with cache.onnx_files(version) as files:
            assert files.model.read_bytes() == model

    assert source.fetched == ["model.onnx"]


def test_callers_who_want_the_same_file_fetch_it_once(cache, source):
    version = source.save("m", model_onnx=onnx_models.linear())

    def fetch() -> None:
        with cache.onnx_files(version):
            pass

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert source.fetched == ["model.onnx"]


def test_a_file_in_the_cache_needs_no_registry(cache, source):
    version = source.save("m", model_onnx=onnx_models.linear())
    with cache.onnx_files(version):
        pass
    source.outage = RegistryUnavailable("away")

    with cache.onnx_files(version) as files:
        assert files.digest == version.files[0].digest


def test_bytes_that_are_not_those_of_the_digest_are_not_taken(cache, source, store):
    version = source.save("m", model_onnx=onnx_models.linear())
    source.blobs[version.files[0].digest] = bytes(version.files[0].size_bytes)

    with pytest.raises(RegistryUnavailable, match="sent other bytes"), cache.onnx_files(version):
        pass

    assert list(store.iterate()) == []


def test_a_file_that_has_rotted_in_the_cache_is_fetched_again(cache, source, tmp_path):
    model = onnx_models.linear()
    version = source.save("m", model_onnx=model)
    with cache.onnx_files(version):
        pass
    stored = max((path for path in (tmp_path / "cache").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    stored.chmod(0o600)
    stored.write_bytes(bytes(len(model)))

    with cache.onnx_files(version) as files:
        assert files.model.read_bytes() == model

    assert source.fetched == ["model.onnx", "model.onnx"]


def test_external_data_lies_beside_the_model_while_it_is_loaded(cache, source, scratch):
    model, data = onnx_models.with_external_data("weights/w.bin")
    version = source.save("m", "onnx/model.onnx", onnx__model_onnx=model, onnx__weights__w_bin=data, secret_txt=b"not fetched")

    loaded = OnnxLoader(cache, ServingMetrics(CollectorRegistry()), BATCHES, intra_op_threads=1)(version, lambda _: None)

    assert loaded.size_bytes == len(model) + len(data)
    assert sorted(source.fetched) == ["onnx/model.onnx", "onnx/weights/w.bin"]
    assert list(scratch.iterdir()) == []


def test_external_data_that_the_version_does_not_have_is_refused(cache, source, tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(16))
    version = source.save("m", model_onnx=onnx_models.with_external_data("w.bin")[0])

    with (
        pytest.raises(ModelLoadFailed, match=r"external data at `w.bin`, which is not among the version's files"),
        cache.onnx_files(version),
    ):
        pass


def test_a_model_larger_than_allowed_is_refused_before_it_is_fetched(cache, source):
    version = source.save("m", model_onnx=bytes(1_000_001))

    with pytest.raises(ModelLoadFailed, match="1000001 bytes; at most 1000000 are loaded"), cache.onnx_files(version):
        pass

    assert source.fetched == []


def test_a_version_without_an_onnx_form_says_what_to_do(cache, source):
    version = source.save("m", "", model_skops=b"x")

    with pytest.raises(ModelNotServable, match="Save it again with a converter installed") as raised, cache.onnx_files(version):
        pass

    assert raised.value.preconditions[0][0] == "ONNX_FORM"


def test_the_oldest_files_make_room(source, store, scratch):
    cache = ArtifactCache(source, store, scratch, max_cache_bytes=5_000, max_model_bytes=5_000)
    versions = [source.save(f"m{seed}", model_onnx=onnx_models.linear(features=200, outputs=2, seed=seed)) for seed in range(4)]

    for version in versions:
        with cache.onnx_files(version):
            pass

    kept = {blob.digest for blob in store.iterate()}
    assert versions[-1].files[0].digest in kept
    assert versions[0].files[0].digest not in kept
    assert sum(blob.size_bytes for blob in store.iterate()) <= 5_000
