from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mlmesh import platform_code
from mlmesh.cli import follow, output, prediction
from mlmesh.cli.app import app
from typer.testing import CliRunner

RUNNER = CliRunner()


def test_help_names_every_command() -> None:
    shown = RUNNER.invoke(app, ["--help"]).output
    for command in (
        "up",
        "down",
        "status",
        "demo",
        "login",
        "models",
        "data",
        "datasets",
        "processing",
        "features",
        "predict",
        "serve",
        "logs",
        "token",
        "health",
        "whoami",
    ):
        assert command in shown


def test_the_status_of_no_mesh_is_an_error_that_says_how_to_start_one(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["status", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "mlmesh up" in result.stderr


def test_the_status_of_no_mesh_has_a_form_for_programs(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["status", "--json", "--data-dir", str(tmp_path)])
    assert (result.exit_code, json.loads(result.stdout)) == (1, {"state": "stopped", "data_dir": str(tmp_path)})


def test_stopping_what_does_not_run_is_no_error(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["down", "--data-dir", str(tmp_path)])
    assert (result.exit_code, "no mesh runs" in result.stdout) == (0, True)


def test_a_component_that_does_not_exist_is_refused_with_those_that_do() -> None:
    result = RUNNER.invoke(app, ["serve", "nothing"])
    assert result.exit_code == 2
    assert "gateway, ingestion, processing, registry, serving, system, users" in result.stderr


def test_the_log_of_a_process_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "control.log").write_text("line\n")
    result = RUNNER.invoke(app, ["logs", "nothing", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "there are: control" in result.stderr


def test_logs_are_shown_by_process(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "control.log").write_text("1\n2\n3\n")
    (tmp_path / "logs" / "envoy.log").write_text("e\n")
    assert RUNNER.invoke(app, ["logs", "control", "-n", "2", "--data-dir", str(tmp_path)]).stdout == "2\n3\n"
    both = RUNNER.invoke(app, ["logs", "--data-dir", str(tmp_path)]).stdout
    assert [line.split() for line in both.splitlines()] == [["control", "1"], ["control", "2"], ["control", "3"], ["envoy", "e"]]


def test_a_log_is_followed_through_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("old\n")
    lines = follow.lines_of([log], 1, on=True)
    assert next(lines) == "old"
    with log.open("a") as file:
        file.write("new\nhal")
    assert next(lines) == "new"
    with log.open("a") as file:
        file.write("f\n")
    assert next(lines) == "half"
    log.write_text("x\n")
    assert next(lines) == "x"


def test_rows_to_predict_are_read_from_what_people_have(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('a,b\n1,"AA"\n2.5,UA\n')
    (tmp_path / "body.json").write_text('{"inputs": {"x": [[1]]}}')
    np.save(tmp_path / "rows.npy", np.array([[1.0, 2.0]]))
    assert prediction._body("", tmp_path / "rows.csv") == {"instances": [[1.0, "AA"], [2.5, "UA"]]}
    assert prediction._body("", tmp_path / "body.json") == {"inputs": {"x": [[1]]}}
    assert prediction._body("", tmp_path / "rows.npy") == {"instances": [[1.0, 2.0]]}
    assert prediction._body("[[1, 2]]", None) == {"instances": [[1, 2]]}


@pytest.mark.parametrize(("arguments", "said"), [([], "give rows or --file"), (["[[1,"], "the rows cannot be read")])
def test_rows_that_cannot_be_read_are_refused(arguments: list[str], said: str) -> None:
    result = RUNNER.invoke(app, ["predict", "toy", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 1024**4, "5.0 TiB")])
def test_sizes_are_written_for_people(size: int, text: str) -> None:
    assert output.human_size(size) == text


def test_text_of_a_server_is_never_taken_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("NAME",), [["[red]x[/red]"], [None]])
    assert "[red]x[/red]" in capsys.readouterr().out


def test_the_platform_is_found_in_the_source_tree_and_comes_first_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/mine")
    root = platform_code.platform_root()
    assert (root / "servers" / "topology.py").exists()
    path = platform_code.environment()["PYTHONPATH"].split(":")
    assert (path[0], path[-1]) == (str(root), "/mine")


def test_help_of_up_explains_every_setting_with_its_unit() -> None:
    result = RUNNER.invoke(app, ["up", "--help"])
    assert result.exit_code == 0
    for variable in ("MLMESH_MESH_STOP_GRACE_S", "MLMESH_LOG_LEVEL", "MLMESH_USERS_ACCESS_TOKEN_LIFETIME_S", "MLMESH_GATEWAY_RATE_LIMITS"):
        assert variable in result.stdout
    assert "How long a process may take to stop after SIGTERM before it is killed, in seconds." in " ".join(result.stdout.split())
