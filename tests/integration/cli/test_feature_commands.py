"""The commands about features, over a real connection to a mesh that answers as it is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import mlmesh.sync.features
import pyarrow as pa
import pytest
from mlmesh.cli.app import app, run
from mlops.features.v1 import feature_job_service_pb2 as jobs
from mlops.features.v1 import feature_serving_service_pb2 as serving
from pyarrow import parquet
from typer.testing import CliRunner, Result

from tests.integration.client.small_features import ID, SmallFeatures
from tests.integration.client.small_mesh import API_KEY, Scene, serve

VIEW_YAML = "entities: [user]\ndataset: {dataset: activity}\nevent_time_column: time\nfeatures: [{name: clicks}]\nmax_age: 604800s\n"
TRAINING = ("features", "training-sets", "create", "--spine", "labels@1", "--label-time", "time", "--output", "training")


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def features(scene: Scene) -> SmallFeatures:
    return SmallFeatures(scene)


@pytest.fixture(autouse=True)
def mesh_of_the_environment(scene: Scene, features: SmallFeatures, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server, address = serve(scene, features.register)
    monkeypatch.setenv("MLMESH_URL", address)
    monkeypatch.setenv("MLMESH_API_KEY", API_KEY)
    # Tables are as wide as the terminal.
    monkeypatch.setenv("COLUMNS", "200")
    yield
    server.stop(None).wait()


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ("features", *arguments), input=stdin)


def shown(*arguments: str, stdin: str | None = None) -> str:
    result = invoke(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


class TestDefinitions:
    def test_an_entity_is_made_of_its_keys(self, scene: Scene) -> None:
        said = shown("entities", "create", "user", "--key", "user_id=int64", "--key", "shop=string", "--label", "team=a")
        assert said == "entity user of user_id int64, shop string\n"
        (request,) = scene.requests["CreateEntity"]
        assert dict(request.labels) == {"team": "a"}

    def test_a_view_is_made_of_a_file_and_shown_as_one(self, scene: Scene, tmp_path: Path) -> None:
        (tmp_path / "view.yaml").write_text(VIEW_YAML)
        made = json.loads(shown("create", "activity", "--spec", str(tmp_path / "view.yaml"), "--json"))
        (tmp_path / "again.json").write_text(json.dumps(made["spec"]))
        shown("update", "activity", "--spec", str(tmp_path / "again.json"), "--description", "What users do")
        (created,), (updated,) = scene.requests["CreateFeatureView"], scene.requests["UpdateFeatureView"]
        assert created.spec == updated.feature_view.spec
        assert list(updated.update_mask.paths) == ["description", "spec"]

    def test_a_service_is_made_of_a_file(self, scene: Scene, tmp_path: Path) -> None:
        (tmp_path / "service.json").write_text(json.dumps({"selections": [{"view": "activity"}]}))
        said = shown("services", "create", "fraud", "--spec", str(tmp_path / "service.json"))
        assert said == "feature service fraud version 1: activity@newest\n"

    def test_views_are_listed_and_searched(self, scene: Scene) -> None:
        assert [line.split()[0] for line in shown("list", "--limit", "2").splitlines()[1:]] == ["v0", "v1"]
        assert len(json.loads(shown("search", "click", "--filter", 'entity = "user"', "--json"))) == 5
        assert [(one.query, one.filter) for one in scene.requests["ListFeatureViews"]][-1] == ("click", 'entity = "user"')

    def test_everything_there_is_can_be_shown(self) -> None:
        # Text of a server is never taken for markup.
        assert "[bold]Clicks[/]" in shown("show", "activity")
        assert "fraud@2" in (lineage := shown("lineage", "activity"))
        assert "fraud-net" in lineage
        statistics = shown("statistics", "activity", "--baseline", "0")
        assert "1:00:00 ago" in statistics
        assert "25.0%" in statistics
        assert json.loads(shown("statistics", "activity", "--json"))["event_age"] == 3600.4
        assert "amount / u_clicks" in shown("services", "show", "fraud")
        assert "user_id int64" in shown("entities", "show", "user")
        assert len(shown("versions", "activity").splitlines()) == len(shown("services", "versions", "fraud").splitlines()) == 3
        assert "fraud" in shown("services", "list")
        assert "e4" in shown("entities", "list")

    def test_what_is_not_needed_is_deleted(self, scene: Scene) -> None:
        for arguments in (("delete", "x"), ("services", "delete", "x"), ("entities", "delete", "x")):
            assert "x is deleted" in shown(*arguments, "--etag", "e")
        assert [scene.requests[f"Delete{kind}"][0].etag for kind in ("FeatureView", "FeatureService", "Entity")] == ["e"] * 3


class TestValues:
    def test_features_are_served_row_by_row(self, scene: Scene) -> None:
        said = shown("serve", "fraud", "--entity", "user_id=[7, 8]", "--input", "amount=1.5", "--input", "amount=2.5")
        assert [line.split() for line in said.splitlines()] == [
            ["user_id", "clicks", "ratio"],
            ["7", "3", "0.5"],
            ["8", "not_found", "not_found"],
        ]
        (request,) = scene.requests["ServeFeatures"]
        assert list(request.request_inputs["amount"].double_values.values) == [1.5, 2.5]

    def test_features_have_a_form_for_programs(self) -> None:
        said = json.loads(shown("serve", "--view", "activity", "--entity", "user_id=7", "--event-times", "--json"))
        assert said["features"]["clicks"] == {
            **{"type": "int64", "view": "activity", "version": 2, "values": [3], "statuses": ["present"]},
            "event_times": ["2026-11-27T12:00:00Z"],
        }
        assert "event_times" not in said["features"]["ratio"]

    @pytest.mark.parametrize("name", ["rows.json", "rows.ndjson", "rows.parquet", "rows.arrow", "-"])
    def test_rows_are_pushed_from_a_file(self, name: str, scene: Scene, tmp_path: Path) -> None:
        table, line = pa.table({"user_id": [7]}), '{"user_id": 7}'
        (tmp_path / "rows.json").write_text(f"[{line}]")
        (tmp_path / "rows.ndjson").write_text(f"{line}\n")
        parquet.write_table(table, tmp_path / "rows.parquet")
        with pa.ipc.new_stream(tmp_path / "rows.arrow", table.schema) as writer:
            writer.write_table(table)
        said = shown("push", "activity", name if name == "-" else str(tmp_path / name), stdin=f"{line}\n")
        assert said.startswith("1 rows are online; 1 were not newer than what is there\ningestion i-1 writes them")
        (request,) = scene.requests["PushFeatures"]
        is_json = request.WhichOneof("data") == "rows"
        pushed = request.rows.rows[0]["user_id"] if is_json else pa.ipc.open_stream(request.arrow_stream).read_all()["user_id"][0].as_py()
        assert pushed == 7

    def test_rows_may_go_online_alone(self, scene: Scene) -> None:
        assert "ingestion" not in shown("push", "activity", "-", "--no-offline", stdin='{"user_id": 7}')
        assert scene.requests["PushFeatures"][0].target == serving.PUSH_TARGET_ONLINE

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["serve", "--entity", "user_id=7"], "give a feature service, or --view"),
            (["serve", "fraud"], "give the join keys"),
            (["serve", "fraud", "--entity", "7"], "is not NAME=VALUE"),
            (["push", "activity", "nothing.json"], "nothing.json cannot be read"),
            (["entities", "create", "user", "--key", "user_id"], "is not NAME=TYPE"),
            ([*TRAINING[1:]], "give --service or --view"),
            (
                ["training-sets", "create", "--service", "fraud", "--spine", "a@b", "--label-time", "t", "--output", "o"],
                "DATASET[@VERSION]",
            ),
        ],
    )
    def test_a_wrong_command_is_refused(self, arguments: list[str], said: str) -> None:
        result = invoke(*arguments)
        assert result.exit_code == 2, result.output
        assert "".join(said.split()) in "".join(result.stderr.replace("│", "").split())


class TestJobs:
    def test_a_training_set_is_made_and_its_leaks_are_told(self, scene: Scene) -> None:
        said = shown(*TRAINING[1:], "--service", "fraud", "--column", "is_fraud")
        assert said.startswith("training version 0: 9 rows\n")
        assert "LEAKS KEPT OUT" in said
        (request,) = scene.requests["CreateTrainingSet"]
        assert (request.spec.feature_service, request.spec.spine.version, list(request.spec.spine.columns)) == ("fraud", 1, ["is_fraud"])

    def test_what_a_training_set_was_is_a_file_of_one(self, scene: Scene, tmp_path: Path) -> None:
        (tmp_path / "again.json").write_text(json.dumps(json.loads(shown(*TRAINING[1:], "--view", "activity", "--json"))["spec"]))
        assert "can be made" in shown("training-sets", "create", "--spec", str(tmp_path / "again.json"), "--validate-only")
        first, second = scene.requests["CreateTrainingSet"]
        assert (first.spec, second.validate_only) == (second.spec, True)

    def test_a_failure_is_an_error_with_the_reason_in_words(
        self, features: SmallFeatures, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        features.jobs.states = ["FAILED"]
        monkeypatch.setattr(sys, "argv", ["mlmesh", *TRAINING, "--service", "fraud"])
        with pytest.raises(SystemExit) as ended:
            run()
        assert ended.value.code == 1
        assert f"training set {ID} failed: labels has no column [user_id]" in " ".join(capsys.readouterr().err.split())

    def test_a_failure_has_a_form_for_programs(self, features: SmallFeatures) -> None:
        features.jobs.states = ["FAILED"]
        result = invoke("materialize", "activity", "--json")
        assert (result.exit_code, json.loads(result.stdout)["error"]["reason"]) == (1, "SPINE_COLUMN_MISSING")

    def test_a_view_is_materialised(self, scene: Scene) -> None:
        assert shown("materialize", "activity", "--full") == "full: 9 rows read, 7 written, 0 not newer than what is there\n"
        assert scene.requests["MaterializeFeatureView"][0].mode == jobs.MATERIALIZE_MODE_FULL

    def test_an_interrupt_stops_the_waiting_and_nothing_else(
        self, scene: Scene, features: SmallFeatures, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        features.jobs.states = ["RUNNING"]

        def interrupted(_seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(mlmesh.sync.features, "pause", interrupted)
        result = invoke("materialize", "activity")
        assert result.exit_code == 130
        assert f"goes on: `mlmesh features materializations show {ID}`" in result.stderr
        assert scene.calls["CancelMaterialization"] == 0

    def test_jobs_are_shown_and_stopped(self) -> None:
        assert "fraud@newest" in shown("training-sets", "list")
        assert "ratio" in shown("training-sets", "show", ID)
        assert "activity@2" in shown("materializations", "list")
        assert "dataset version" in shown("materializations", "show", ID)
        for group in ("training-sets", "materializations"):
            assert "is cancelling" in shown(group, "cancel", ID)
