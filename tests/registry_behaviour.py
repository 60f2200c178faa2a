"""What every registry does, whatever its metadata and files are kept in: one class, run by a subclass for each combination.

A subclass brings a fixture `spec` that says how to open the registry. Each test works in a project of its own, so that all of them may
share one database.
"""

from __future__ import annotations

import multiprocessing
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aip_filter import FilterError, OrderByError, PageTokenError
from blob_store import sha256_of
from model_management import (
    DatasetReference,
    Lineage,
    ModelRegistry,
    Signature,
    Stage,
    TensorSpec,
    VersionReference,
    VersionState,
)
from model_management.errors import (
    AliasNotFound,
    EtagMismatch,
    InvalidValue,
    ModelExists,
    ModelNotFound,
    ParentNotFound,
    RegistryError,
    VersionHasAliases,
    VersionNotFound,
)
from model_management.model import ModelChanges, NewModel, VersionChanges
from tests.registry_racer import SAVES_EACH, RegistrySpec, save_many, small_file

RACERS = 8


class RegistryBehaviour:
    """The tests. Names of the fixtures that a subclass overrides: `spec`."""

    @pytest.fixture
    def project(self) -> str:
        return f"p-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def registry(self, spec: RegistrySpec, project: str) -> Iterator[ModelRegistry]:
        with spec.open(project=project) as registry:
            yield registry

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return small_file(tmp_path / "source", "weights")

    # The sample that users know.

    def test_a_model_is_saved_found_and_loaded_as_the_sample_shows(self, registry):
        inputs = np.random.default_rng(7).random((60, 3), dtype=np.float32)
        model = LogisticRegression().fit(inputs, inputs[:, 0] > 0.5)
        registry.save_model(model, "my_model", "Description", tags={"type": "classifier", "author": "team_a"})
        loaded = registry.load_model("my_model")
        backend = registry.metadata_backend.backend
        assert np.array_equal(loaded.predict_proba(inputs), model.predict_proba(inputs))
        assert [found.name for found in backend.find_models_by_tag("type", "classifier", registry.project)] == ["my_model"]
        assert backend.find_models_by_tag("type", "regressor", registry.project) == []
        assert backend.get_statistics(registry.project).version_count == 1
        assert backend.get_statistics().version_count >= 1

    def test_a_saved_version_says_everything_that_was_given(self, registry, source):
        signature = Signature((TensorSpec("rows", "FP32", (-1, 3)),), (TensorSpec("label", "INT64", (-1,)),))
        lineage = Lineage((DatasetReference("flights", "s3://data/flights", "v3"),), "run-1", "https://example.org/code", "abc123")
        (source / "inner").mkdir()
        (source / "inner" / "empty.bin").write_bytes(b"")
        saved = registry.save_model(
            source,
            "full",
            "First *try*",
            tags={"team": "a"},
            metrics={"auc": 0.75, "loss": float("inf"), "gap": float("nan")},
            parameters={"depth": 3, "kernel": "rbf"},
            lineage=lineage,
            model_card="# Card\nÜber alles.",
            signature=signature,
            alias="champion",
            stage="production",
        )
        found = registry.get_version("full", 1)
        assert found.etag == saved.etag
        assert (found.state, found.stage, found.aliases, found.format) == (VersionState.READY, Stage.PRODUCTION, ("champion",), "folder")
        assert (found.description, found.tags, found.model_card) == ("First *try*", {"team": "a"}, "# Card\nÜber alles.")
        assert (found.signature, found.lineage) == (signature, lineage)
        assert found.metrics["auc"] == 0.75
        assert found.metrics["loss"] == float("inf")
        assert np.isnan(found.metrics["gap"])
        assert (found.parameters["depth"], found.parameters["kernel"]) == ("3", "rbf")
        assert [entry.size_bytes for entry in found.files if entry.path.endswith("inner/empty.bin")] == [0]
        assert found.size_bytes == sum(entry.size_bytes for entry in found.files)
        assert found.digest.startswith("sha256:")
        assert found.create_time == saved.create_time
        assert found.creator

    def test_files_come_back_byte_for_byte(self, registry, tmp_path):
        content = np.random.default_rng(1).bytes(3_000_000)
        source = tmp_path / "artifact"
        (source / "deep" / "deeper").mkdir(parents=True)
        (source / "deep" / "deeper" / "blob.bin").write_bytes(content)
        (source / "ünïcode name.txt").write_text("text")
        saved = registry.save_model(source, "files")
        loaded = registry.load_model("files")
        assert (loaded / "deep" / "deeper" / "blob.bin").read_bytes() == content
        assert (loaded / "ünïcode name.txt").read_text() == "text"
        registry.download("files", tmp_path / "back")
        found = {path.relative_to(tmp_path / "back").as_posix(): path for path in (tmp_path / "back").rglob("*") if path.is_file()}
        assert {path: sha256_of(file.read_bytes()) for path, file in found.items()} == {entry.path: entry.digest for entry in saved.files}
        with pytest.raises(InvalidValue, match="not an empty folder"):
            registry.download("files", tmp_path / "back")

    def test_the_same_content_gets_the_same_digest(self, registry, tmp_path):
        first = registry.save_model(small_file(tmp_path / "a", "same"), "twin")
        second = registry.save_model(small_file(tmp_path / "b", "same"), "twin")
        third = registry.save_model(small_file(tmp_path / "c", "other"), "twin")
        assert first.digest == second.digest != third.digest

    # Numbers.

    def test_eight_processes_save_fifty_versions_each_and_none_is_lost_or_doubled(self, spec, project, tmp_path):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.registry_racer"])
        barrier, numbers = context.Barrier(RACERS), context.Queue()
        arguments = [(spec, project, str(tmp_path / f"racer-{racer}"), barrier, numbers) for racer in range(RACERS)]
        processes = [context.Process(target=save_many, args=each) for each in arguments]
        for process in processes:
            process.start()
        given = [number for _ in processes for number in numbers.get(timeout=300)]
        for process in processes:
            process.join(60)
        with spec.open(project=project) as registry:
            kept = [version.version for version in registry.search_versions(order_by="version", name="raced")]
            model = registry.get_model("raced")
        assert sorted(given) == kept == list(range(1, RACERS * SAVES_EACH + 1))
        assert (model.latest_version, model.version_count) == (RACERS * SAVES_EACH, RACERS * SAVES_EACH)

    def test_a_repeated_request_returns_the_first_version(self, registry, source):
        request_id = str(uuid.uuid4())
        first = registry.save_model(source, "retried", request_id=request_id)
        again = registry.save_model(source, "retried", request_id=request_id)
        assert again == first
        assert registry.get_model("retried").version_count == 1
        with pytest.raises(RegistryError):
            registry.save_model(source, "another", request_id=request_id)

    def test_a_deleted_number_is_not_given_out_again(self, registry, source):
        for _ in range(3):
            registry.save_model(source, "counted")
        registry.delete_version("counted", 3)
        assert registry.save_model(source, "counted").version == 4

    # Models.

    def test_a_model_is_created_changed_deleted_and_restored(self, registry):
        backend, project = registry.metadata_backend.backend, registry.project
        created = registry.create_model("plain", "What it is for", display_name="Plain", tags={"a": "1"})
        assert registry.get_model("plain") == created
        assert (created.latest_version, created.version_count, created.delete_time) == (0, 0, None)
        with pytest.raises(ModelExists):
            registry.create_model("plain")
        changed = backend.update_model(project, "plain", ModelChanges(description="", tags={"b": "2"}), etag=created.etag)
        assert (changed.description, changed.display_name, changed.tags) == ("", "Plain", {"b": "2"})
        assert changed.etag != created.etag
        with pytest.raises(EtagMismatch):
            backend.update_model(project, "plain", ModelChanges(description="late"), etag=created.etag)
        registry.delete_model("plain")
        registry.delete_model("plain")
        with pytest.raises(ModelNotFound):
            registry.get_model("plain")
        with pytest.raises(ModelExists):
            registry.create_model("plain")
        assert registry.get_model("plain", include_deleted=True).delete_time is not None
        assert registry.restore_model("plain").delete_time is None
        assert registry.get_model("plain").tags == {"b": "2"}

    def test_creating_a_model_twice_with_one_request_id_creates_it_once(self, registry):
        backend, request_id = registry.metadata_backend.backend, str(uuid.uuid4())
        first = backend.create_model(registry.project, "once", NewModel(description="d"), request_id=request_id)
        assert backend.create_model(registry.project, "once", NewModel(description="d"), request_id=request_id) == first

    def test_the_versions_of_a_deleted_model_are_gone_with_it_and_come_back_with_it(self, registry, source):
        registry.save_model(source, "gone")
        registry.save_model(source, "gone")
        registry.delete_version("gone", 1)
        registry.delete_model("gone")
        with pytest.raises(ModelNotFound):
            registry.load_model("gone")
        with pytest.raises(ModelNotFound):
            registry.get_version("gone", 2)
        assert list(registry.search_versions()) == []
        with pytest.raises(RegistryError):
            registry.save_model(source, "gone")
        registry.restore_model("gone")
        assert [version.version for version in registry.search_versions(name="gone")] == [2]

    @pytest.mark.parametrize("name", ["", "-x", "a/b", "a b", "é", "x" * 256, "..", "a\n"])
    def test_a_wrong_name_is_refused(self, registry, name):
        with pytest.raises(InvalidValue):
            registry.create_model(name)

    def test_projects_do_not_see_each_other(self, spec, registry, source):
        registry.save_model(source, "private", tags={"k": "v"})
        with spec.open(project=f"{registry.project}-b") as other:
            with pytest.raises(ModelNotFound):
                other.load_model("private")
            other.save_model(source, "private")
            assert [model.project for model in other.list_models().items] == [other.project]
            assert other.get_statistics().version_count == 1
        assert registry.get_model("private").version_count == 1

    # Versions.

    def test_a_version_is_changed_field_by_field(self, registry, source):
        backend, project = registry.metadata_backend.backend, registry.project
        saved = registry.save_model(source, "m", "d", tags={"a": "1"}, metrics={"x": 1.0}, parameters={"p": "q"}, model_card="card")
        changed = registry.update_version("m", 1, metrics={"y": 2.0}, etag=saved.etag)
        assert (changed.description, changed.tags, changed.metrics, changed.model_card) == ("d", {"a": "1"}, {"y": 2.0}, "card")
        with pytest.raises(EtagMismatch):
            backend.update_version(project, "m", 1, VersionChanges(description="late"), etag=saved.etag)
        emptied = registry.update_version("m", 1, description="", tags={}, parameters={}, model_card="")
        assert (emptied.description, emptied.tags, emptied.parameters, emptied.model_card) == ("", {}, {}, "")
        assert emptied.files == saved.files
        assert registry.get_version("m", 1) == emptied

    def test_tags_set_by_several_at_once_are_all_kept(self, registry, source):
        registry.save_model(source, "tagged", tags={"kept": "1", "dropped": "1"})
        threads = [threading.Thread(target=registry.tag_version, args=("tagged", 1, {f"t{number}": "x"})) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert registry.tag_version("tagged", 1, {"dropped": None}).tags == {"kept": "1", **{f"t{number}": "x" for number in range(4)}}

    def test_a_version_is_deleted_and_restored(self, registry, source):
        registry.save_model(source, "m")
        registry.save_model(source, "m")
        registry.delete_version("m", 2)
        registry.delete_version("m", 2)
        model = registry.get_model("m")
        assert (model.latest_version, model.version_count) == (1, 1)
        assert registry.resolve("m").version == 1
        with pytest.raises(VersionNotFound):
            registry.get_version("m", 2)
        deleted = registry.get_version("m", 2, include_deleted=True)
        assert deleted.state is VersionState.DELETED
        assert deleted.delete_time is not None
        assert [version.version for version in registry.list_versions("m", include_deleted=True).items] == [2, 1]
        assert registry.restore_version("m", 2).state is VersionState.READY
        assert registry.get_model("m").latest_version == 2

    @pytest.mark.parametrize(("options", "error"), [({"version": 9}, VersionNotFound), ({"alias": "no"}, AliasNotFound)])
    def test_what_is_not_there_is_said_by_name(self, registry, source, options, error):
        registry.save_model(source, "m")
        with pytest.raises(error) as caught:
            registry.load_model("m", **options)
        assert "'m'" in str(caught.value)
        with pytest.raises(ModelNotFound, match="nobody"):
            registry.load_model("nobody")

    # Aliases and stages.

    def test_an_alias_moves_and_the_default_one_decides_what_is_loaded(self, registry, source):
        for _ in range(3):
            registry.save_model(source, "m")
        assert registry.resolve("m").version == 3
        assert registry.set_alias("m", "default", 1).aliases == {"default": 1}
        assert registry.resolve("m").version == 1
        assert registry.resolve("m", alias="latest").version == 3
        assert registry.resolve("m", 2).version == 2
        before = registry.get_version("m", 1)
        assert registry.set_alias("m", "default", 2).aliases == {"default": 2}
        assert registry.get_version("m", 1).aliases == ()
        assert registry.get_version("m", 1).etag != before.etag
        assert registry.get_version("m", 2).aliases == ("default",)
        with pytest.raises(VersionHasAliases):
            registry.delete_version("m", 2)
        assert registry.delete_alias("m", "default").aliases == {}
        registry.delete_alias("m", "default")
        registry.delete_version("m", 2)

    @pytest.mark.parametrize("alias", ["1", "latest", "a b", ""])
    def test_an_alias_that_could_be_something_else_is_refused(self, registry, source, alias):
        registry.save_model(source, "m")
        with pytest.raises(InvalidValue):
            registry.set_alias("m", alias, 1)

    def test_an_alias_needs_a_version(self, registry, source):
        registry.save_model(source, "m")
        with pytest.raises(VersionNotFound):
            registry.set_alias("m", "a", 2)

    def test_a_version_becomes_production_and_archives_the_one_before_on_request(self, registry, source):
        for _ in range(3):
            registry.save_model(source, "m")
        registry.set_stage("m", 1, "production")
        registry.set_stage("m", 2, Stage.PRODUCTION)
        assert registry.resolve("m", stage="production").version == 2
        registry.set_stage("m", 3, "PRODUCTION", archive_others=True)
        stages = {version.version: version.stage.value for version in registry.search_versions(name="m")}
        assert stages == {1: "archived", 2: "archived", 3: "production"}
        with pytest.raises(VersionNotFound):
            registry.resolve("m", stage="staging")
        with pytest.raises(InvalidValue, match="no stage"):
            registry.set_stage("m", 1, "live")
        assert registry.set_stage("m", 3, "none").stage is Stage.NONE

    # Questions.

    @pytest.fixture
    def fleet(self, registry, source) -> ModelRegistry:
        for number in range(1, 8):
            registry.save_model(
                source,
                f"model-{number % 2}",
                f"try {number}",
                tags={"team": "a" if number < 4 else "b", "n": str(number)},
                metrics={"auc": number / 10},
                parameters={"depth": str(number)},
                lineage=Lineage(run_id=f"run-{number}"),
            )
        registry.set_stage("model-1", 2, "production")
        return registry

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ('model = "model-0"', {2, 4, 6}),
            ("version = 1", {1, 2}),
            ("metrics.auc > 0.45 AND tags.team = b", {5, 6, 7}),
            ("metrics.auc >= 0.1 metrics.auc < 0.3", {1, 2}),
            ('tags.team = "a" OR stage = production', {1, 2, 3}),
            ("stage = PRODUCTION", {3}),
            ("NOT tags.team = a", {4, 5, 6, 7}),
            ('tags.missing != "x"', {1, 2, 3, 4, 5, 6, 7}),
            ("tags:missing", set()),
            ("metrics:auc AND -parameters.depth = 3", {1, 2, 4, 5, 6, 7}),
            ('description = "try 1*" OR run_id = "*-7"', {1, 7}),
            ('description:"ry 5"', {5}),
            ("state = READY AND format = folder AND size_bytes > 0", {1, 2, 3, 4, 5, 6, 7}),
            ('create_time > "2001-01-01T00:00:00Z" AND create_time < "2001-01-02T00:00:00+01:00"', set()),
            ("", {1, 2, 3, 4, 5, 6, 7}),
        ],
    )
    def test_versions_are_found_by_filter(self, fleet, text, expected):
        assert {int(version.tags["n"]) for version in fleet.search_versions(text)} == expected

    def test_models_are_found_by_filter(self, fleet):
        def names(text):
            return [model.name for model in fleet.search_models(text)]

        assert names("") == ["model-0", "model-1"]
        assert names("latest_version > 3") == ["model-1"]
        assert names('tags.n = "7"') == ["model-1"]
        assert names('name = "*-0" OR description = nothing') == ["model-0"]
        fleet.delete_model("model-0")
        assert names("") == ["model-1"]
        assert [model.name for model in fleet.list_models(include_deleted=True).items] == ["model-0", "model-1"]

    @pytest.mark.parametrize("order_by", ["", "version", "create_time desc", "update_time, version desc", "model desc, version"])
    def test_pages_are_the_whole_in_order(self, fleet, order_by):
        whole = [(version.model, version.version) for version in fleet.list_versions(order_by=order_by).items]
        pages, token = [], ""
        while True:
            page = fleet.list_versions(order_by=order_by, page_size=3, page_token=token)
            pages.append([(version.model, version.version) for version in page.items])
            token = page.next_page_token
            if not token:
                break
        assert [len(page) for page in pages] == [3, 3, 1]
        assert [item for page in pages for item in page] == whole

    def test_pages_stay_right_while_versions_come(self, fleet, source):
        first = fleet.list_versions("model-1", order_by="version desc", page_size=2)
        fleet.save_model(source, "model-1")
        second = fleet.list_versions("model-1", order_by="version desc", page_size=2, page_token=first.next_page_token)
        assert [version.version for version in (*first.items, *second.items)] == [4, 3, 2, 1]

    def test_a_wrong_question_says_what_is_wrong(self, fleet):
        with pytest.raises((FilterError, InvalidValue), match="modle"):
            fleet.list_versions(filter="modle = x")
        with pytest.raises((OrderByError, InvalidValue), match="colour"):
            fleet.list_versions(order_by="colour")
        token = fleet.list_versions(page_size=1).next_page_token
        with pytest.raises((PageTokenError, InvalidValue)):
            fleet.list_versions(filter="version = 1", page_size=1, page_token=token)
        with pytest.raises(InvalidValue):
            fleet.list_versions(page_size=-1)

    def test_statistics_count_what_is_ready(self, fleet):
        fleet.delete_version("model-0", 1)
        counted = fleet.get_statistics()
        sizes = sum(version.size_bytes for version in fleet.search_versions())
        assert (counted.model_count, counted.version_count, counted.total_size_bytes) == (2, 6, sizes)
        assert counted.versions_by_stage == {"none": 5, "production": 1}
        assert counted.versions_by_format == {"folder": 6}

    def test_lineage_is_followed_both_ways_through_all_generations(self, registry, source):
        def child_of(name, *parents):
            registry.save_model(source, name, lineage=Lineage(parents=parents))
            return VersionReference(name, 1)

        base = child_of("base")
        left, right = child_of("left", base), child_of("right", base)
        merged = child_of("merged", left, right)
        leaf = child_of("leaf", merged)
        graph = registry.lineage("merged", 1)
        assert graph.lineage.parents == (left, right)
        assert {(edge.parent, edge.child) for edge in graph.ancestors} == {(left, merged), (right, merged), (base, left), (base, right)}
        assert {(edge.parent, edge.child) for edge in graph.descendants} == {(merged, leaf)}
        with pytest.raises(ParentNotFound):
            registry.save_model(source, "orphan", lineage=Lineage(parents=(VersionReference("nobody", 1),)))

    def test_two_versions_are_compared(self, registry, tmp_path):
        rows = TensorSpec("rows", "FP32", (-1, 3))
        label = TensorSpec("label", "INT64", (-1,))
        first = Signature((rows,), (label,))
        second = Signature((rows,), (label, TensorSpec("score", "FP32", (-1,))))
        registry.save_model(small_file(tmp_path / "a", "a"), "m", metrics={"auc": 0.5}, tags={"t": "1"}, signature=first)
        registry.save_model(small_file(tmp_path / "b", "b"), "m", metrics={"auc": 0.6}, tags={"t": "1"}, signature=second)
        differences = {found.field: (found.value, found.other_value) for found in registry.compare("m", 1, 2).differences}
        assert differences["metrics.auc"] == ("0.5", "0.6")
        assert differences["signature.outputs.score"] == ("", "FP32 [-1]")
        assert any(name.startswith("files.") for name in differences)
        assert "tags.t" not in differences
        assert registry.compare("m", 1, 2).is_signature_compatible
        assert not registry.compare("m", 2, 1).is_signature_compatible
        assert registry.compare("m", 1, 1).differences == ()

    def test_two_that_open_it_see_the_same(self, spec, registry, source):
        with spec.open(project=registry.project) as other:
            other.save_model(source, "shared")
            assert registry.get_model("shared").latest_version == 1
            registry.set_alias("shared", "a", 1)
            assert other.resolve("shared", alias="a").version == 1
