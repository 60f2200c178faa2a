"""The commands about data, over a real connection to a mesh that answers as it is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import mlmesh.sync.ingestion
import pytest
from mlmesh.cli.app import app, run
from mlops.ingestion.v1 import ingestion_pb2
from typer.testing import CliRunner, Result

from tests.integration.client.small_ingestion import ID, SmallIngestion
from tests.integration.client.small_mesh import API_KEY, Scene, serve

SUITE = {"name": "flights", "expectations": [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "delay"}}]}


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def ingestion(scene: Scene) -> SmallIngestion:
    return SmallIngestion(scene)


@pytest.fixture(autouse=True)
def mesh_of_the_environment(scene: Scene, ingestion: SmallIngestion, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server, address = serve(scene, ingestion.register)
    monkeypatch.setenv("MLMESH_URL", address)
    monkeypatch.setenv("MLMESH_API_KEY", API_KEY)
    # Tables are as wide as the terminal.
    monkeypatch.setenv("COLUMNS", "200")
    yield
    server.stop(None).wait()


@pytest.fixture
def flights(tmp_path: Path) -> str:
    (tmp_path / "flights.csv").write_bytes(b"id;delay\n1;5\n")
    return str(tmp_path / "flights.csv")


@pytest.fixture
def suite(tmp_path: Path) -> str:
    (tmp_path / "suite.json").write_text(json.dumps(SUITE))
    return str(tmp_path / "suite.json")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def shown(*arguments: str) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


class TestIngest:
    def test_a_file_is_taken_in_as_the_options_say(self, scene: Scene, flights: str) -> None:
        said = shown(
            *("data", "ingest", "flights", flights, "--mode", "upsert", "--key", "id", "--key", "day", "--format", "csv"),
            *("--delimiter", "\\t", "--no-header", "--column-type", "time=timestamp[us, tz=UTC]", "--columns", "freeze"),
        )
        assert "flights version 0: 6 rows added, 1 updated, 1 rejected" in said
        assert "column delay was added" in said
        assert "warning: the delimiter was taken to be ;" in said
        # Text of a server is never taken for markup.
        assert "[late]" in said
        (request,) = scene.requests["IngestData"]
        assert (request.source.file.data, request.source.file.name) == (b"id;delay\n1;5\n", "flights.csv")
        assert (request.mode, list(request.keys)) == (ingestion_pb2.WRITE_MODE_UPSERT, ["id", "day"])
        assert (request.read.format, request.read.delimiter, request.read.has_header) == (ingestion_pb2.FILE_FORMAT_CSV, "\t", False)
        assert dict(request.read.column_types) == {"time": "timestamp[us, tz=UTC]"}
        assert request.schema_contract.columns == ingestion_pb2.CONTRACT_MODE_FREEZE

    def test_whoever_does_not_wait_is_told_where_it_stands(self, scene: Scene, ingestion: SmallIngestion) -> None:
        ingestion.states = ["QUEUED"]
        assert f"ingestion {ID} into flights is queued" in shown("data", "ingest", "flights", "s3://bucket/a.csv", "--no-wait")
        assert scene.calls["GetIngestion"] == 0

    def test_a_program_gets_json(self, flights: str) -> None:
        done = json.loads(shown("data", "ingest", "flights", flights, "--json"))
        assert (done["id"], done["state"], done["version"], done["error"]) == (ID, "succeeded", 0, None)
        assert (done["create_time"], done["start_time"]) == ("2026-11-27T12:00:00Z", None)
        assert done["rejected"] == [{"row": 7, "column": "delay", "value": "[late]", "reason": "it is no number"}]

    def test_a_failure_is_an_error_with_the_reason_in_words(
        self, ingestion: SmallIngestion, flights: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ingestion.states = ["QUEUED", "FAILED"]
        monkeypatch.setattr(sys, "argv", ["mlmesh", "data", "ingest", "flights", flights])
        with pytest.raises(SystemExit) as ended:
            run()
        assert ended.value.code == 1
        assert "flights failed: flights.csv, line 7: it has 3 cells, not 4" in " ".join(capsys.readouterr().err.split())

    def test_a_failure_has_a_form_for_programs(self, ingestion: SmallIngestion, flights: str) -> None:
        ingestion.states = ["FAILED"]
        result = invoke("data", "ingest", "flights", flights, "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["error"]["reason"] == "RAGGED_ROW"

    def test_an_interrupt_stops_the_waiting_and_nothing_else(
        self, scene: Scene, ingestion: SmallIngestion, flights: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ingestion.states = ["RUNNING"]

        def interrupted(_seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(mlmesh.sync.ingestion, "pause", interrupted)
        result = invoke("data", "ingest", "flights", flights)
        assert result.exit_code == 130
        assert f"goes on: `mlmesh data show {ID}`" in result.stderr
        assert scene.calls["CancelIngestion"] == 0

    def test_a_type_without_a_column_is_refused(self, flights: str) -> None:
        result = invoke("data", "ingest", "flights", flights, "--column-type", "string")
        assert (result.exit_code, "NAME=TYPE" in result.stderr) == (2, True)


class TestIngestions:
    def test_ingestions_are_listed(self, scene: Scene) -> None:
        said = shown("data", "list", "--filter", 'state = "FAILED"', "--limit", "4")
        assert [line.split()[0] for line in said.splitlines()[1:]] == ["i0", "i1", "i2", "i3"]
        assert scene.requests["ListIngestions"][0].filter == 'state = "FAILED"'
        assert [one["id"] for one in json.loads(shown("data", "list", "--json"))] == [f"i{number}" for number in range(5)]

    def test_one_is_shown_with_what_went_wrong(self, ingestion: SmallIngestion) -> None:
        ingestion.states = ["FAILED"]
        said = shown("data", "show", ID)
        assert "flights.csv, line 7: it has 3 cells, not 4 (RAGGED_ROW)" in said
        assert "2026-11-27 12:00:00 by ada" in said

    def test_one_is_cancelled(self, scene: Scene) -> None:
        assert f"ingestion {ID} is cancelling" in shown("data", "cancel", ID)
        assert scene.requests["CancelIngestion"][0].id == ID


class TestValidate:
    def test_data_that_are_well_end_with_0(self, scene: Scene, suite: str) -> None:
        assert "passed: 1 of 1 expectations are met by 7 rows" in shown("data", "validate", suite, "--dataset", "flights", "--version", "0")
        (request,) = scene.requests["ValidateData"]
        assert (request.dataset, request.HasField("version"), request.version) == ("flights", True, 0)
        assert not request.HasField("read")

    @pytest.mark.parametrize(("verdict", "exit_code"), [("WARNING", 0), ("FAILED", 1)])
    def test_only_what_must_not_be_used_ends_with_1(
        self, ingestion: SmallIngestion, suite: str, flights: str, verdict: str, exit_code: int
    ) -> None:
        ingestion.verdict = verdict
        result = invoke("data", "validate", suite, "--source", flights)
        assert result.exit_code == exit_code
        assert "1 of 7 unexpected" in result.stdout
        assert f"{verdict.lower()}: 0 of 1" in result.stdout

    def test_a_program_gets_json_and_the_same_exit_code(self, ingestion: SmallIngestion, suite: str) -> None:
        ingestion.verdict = "FAILED"
        result = invoke("data", "validate", suite, "--dataset", "flights", "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["results"][0]["unexpected_rows"] == [{"row": 4, "column": "delay", "value": -12}]

    def test_nothing_to_check_is_refused(self, suite: str) -> None:
        result = invoke("data", "validate", suite)
        assert (result.exit_code, "give either --dataset or --source" in result.stderr) == (2, True)


class TestDatasets:
    def test_datasets_are_listed(self) -> None:
        said = shown("datasets", "list")
        assert [line.split()[:4] for line in said.splitlines()[1:]] == [["airports", "0", "7", "2"], ["flights", "3", "7", "2"]]
        assert [one["name"] for one in json.loads(shown("datasets", "list", "--json"))] == ["airports", "flights"]

    def test_a_dataset_is_shown_with_its_columns_as_it_was(self, scene: Scene) -> None:
        said = shown("datasets", "show", "flights", "--at", "2026-11-27T12:00:00")
        assert "timestamp[us, tz=UTC]" in said
        assert "file:///tables/default/flights" in said
        assert scene.requests["GetDataset"][0].read_time.ToJsonString() == "2026-11-27T12:00:00Z"
        first = json.loads(shown("datasets", "show", "flights", "--version", "0", "--json"))
        assert (first["version"], first["columns"][0]) == (0, {"name": "id", "type": "int64"})

    def test_versions_are_listed(self) -> None:
        said = shown("datasets", "versions", "flights")
        assert [cell for cell in said.splitlines()[1].split() if cell in ("1", "MERGE", ID)] == ["1", "MERGE", ID]
        assert [one["version"] for one in json.loads(shown("datasets", "versions", "flights", "--json"))] == [1, 0]

    def test_rows_are_shown(self, scene: Scene) -> None:
        said = shown("datasets", "preview", "flights", "--limit", "2", "--skip-rows", "1", "--column", "id")
        assert [line.strip() for line in said.splitlines()] == ["id", "9007199254740993", "-"]
        (request,) = scene.requests["PreviewDataset"]
        assert (request.limit, request.skip_rows, list(request.columns)) == (2, 1, ["id"])
        assert json.loads(shown("datasets", "preview", "flights", "--json"))["rows"][1] == {"id": None}

    def test_a_dataset_is_rolled_back_to_its_first_version(self, scene: Scene) -> None:
        assert "flights version 4 has the 7 rows of version 0" in shown("datasets", "rollback", "flights", "0")
        assert scene.requests["RollbackDataset"][0].HasField("version")

    def test_a_dataset_is_tidied_up(self, scene: Scene) -> None:
        assert "flights version 5: 40 files became 1" in shown("datasets", "compact", "flights")
        assert "removed 40 files of flights" in shown("datasets", "vacuum", "flights", "--keep-days", "2")
        assert scene.requests["VacuumDataset"][0].retention.seconds == 2 * 86400

    def test_a_suggested_suite_is_json_for_other_commands(self, scene: Scene) -> None:
        assert json.loads(shown("datasets", "suggest", "flights"))["name"] == "flights"

    def test_a_dataset_is_deleted_only_by_whoever_means_it(self, scene: Scene) -> None:
        asked = CliRunner().invoke(app, ["datasets", "delete", "flights"], input="n\n")
        assert (asked.exit_code, scene.calls["DeleteDataset"]) == (1, 0)
        assert "deleted flights" in shown("datasets", "delete", "flights", "--yes")
        assert scene.requests["DeleteDataset"][0].name == "flights"
