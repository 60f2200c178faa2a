"""The command line against a whole mesh."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.whole_mesh import Iris, WholeMesh, run_mlmesh


def mlmesh_json(mesh: WholeMesh, *arguments: str) -> object:
    done = run_mlmesh(*arguments, "--json", "--data-dir", str(mesh.data_dir))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def mlmesh(mesh: WholeMesh, *arguments: str, succeeds: bool = True) -> str:
    done = run_mlmesh(*arguments, "--data-dir", str(mesh.data_dir))
    assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
    return done.stdout if succeeds else done.stderr


def test_the_first_start_shows_the_password_once(mesh: WholeMesh) -> None:
    assert "user admin, password " in mesh.printed
    assert not (mesh.data_dir / "secrets" / "initial-admin-password").exists()


def test_the_shown_password_logs_in(mesh: WholeMesh) -> None:
    password = mesh.printed.split("password ", 1)[1].split()[0]
    answer = httpx.post(f"{mesh.url}/api/v1/auth/login", json={"username": "admin", "password": password}, timeout=30)
    assert answer.status_code == 200


def test_status_says_that_everything_is_healthy(mesh: WholeMesh) -> None:
    status = mlmesh_json(mesh, "status")
    assert isinstance(status, dict)
    assert status["state"] == "healthy"
    assert [process["name"] for process in status["processes"]] == ["control", "serving", "serving-2", "gateway", "envoy"]
    assert {component["component"] for component in status["components"]} >= {
        "users",
        "registry",
        "ingestion",
        "processing",
        "features",
        "serving",
        "system",
        "gateway",
    }


def test_a_second_mesh_on_the_same_folder_is_refused_with_the_reason(mesh: WholeMesh) -> None:
    assert "a mesh runs on" in mlmesh(mesh, "up", "--detach", "--port", "0", succeeds=False)
    assert mlmesh_json(mesh, "status")


def test_a_port_in_use_is_refused_by_name(mesh: WholeMesh, tmp_path: Path) -> None:
    port = mesh.url.rsplit(":", 1)[1]
    done = run_mlmesh("up", "--detach", "--port", port, "--data-dir", str(tmp_path / "other"))
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr


def test_a_mesh_that_cannot_start_says_why_with_the_end_of_the_log(tmp_path: Path) -> None:
    wrong = {"MLMESH_REGISTRY_DATABASE_URL": "nonsense://x"}
    done = run_mlmesh("up", "--detach", "--port", "0", "--data-dir", str(tmp_path / "data"), environment=wrong)
    assert done.returncode == 1
    assert "control ended with exit code" in done.stderr
    assert "nonsense" in done.stderr
    assert run_mlmesh("status", "--data-dir", str(tmp_path / "data")).returncode == 1


def test_the_token_is_one_for_curl(mesh: WholeMesh) -> None:
    token = mlmesh(mesh, "token").strip()
    assert httpx.get(f"{mesh.url}/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code == 200


def test_the_local_owner_is_the_administrator(mesh: WholeMesh) -> None:
    me = mlmesh_json(mesh, "whoami")
    assert isinstance(me, dict)
    assert me["user"]["username"] == "admin"


def test_predictions_are_those_of_onnx_runtime_in_process(mesh: WholeMesh, iris: Iris) -> None:
    answer = mlmesh_json(mesh, "predict", iris.name, json.dumps(iris.rows.tolist()))
    assert isinstance(answer, dict)
    assert [row["probabilities"] for row in answer["predictions"]] == iris.probabilities.tolist()
    assert answer["model"] == {"name": iris.name, "version": 1, "digest": iris.digest}


def test_a_wrong_prediction_names_the_tensor(mesh: WholeMesh, iris: Iris) -> None:
    said = mlmesh(mesh, "predict", iris.name, "[[1, 2]]", succeeds=False)
    assert said.startswith("error:")
    assert "input" in said


def test_an_unknown_model_is_said_by_name(mesh: WholeMesh) -> None:
    assert "no model 'nobody'" in mlmesh(mesh, "models", "show", "nobody", succeeds=False)


def test_the_life_of_a_model_by_commands(mesh: WholeMesh, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"w" * 1000)
    saved = mlmesh_json(mesh, "models", "save", "toy", str(folder), "--tag", "team=a", "--description", "first")
    assert isinstance(saved, dict)
    assert (saved["version"], saved["tags"], saved["state"]) == (1, {"team": "a"}, "MODEL_VERSION_STATE_READY")
    (folder / "weights.bin").write_bytes(b"v" * 1000)
    assert "version 2" in mlmesh(mesh, "models", "save", "toy", str(folder))
    mlmesh(mesh, "models", "alias", "toy", "champion", "1")
    mlmesh(mesh, "models", "stage", "toy", "1", "production")
    shown = mlmesh_json(mesh, "models", "show", "toy", "--alias", "champion")
    assert isinstance(shown, dict)
    assert (shown["version"], shown["stage"]) == (1, "MODEL_STAGE_PRODUCTION")
    listed = mlmesh_json(mesh, "models", "list", "--filter", 'tags.team = "a"')
    assert isinstance(listed, list)
    assert [model["name"] for model in listed] == ["toy"]
    mlmesh(mesh, "models", "download", "toy", str(tmp_path / "back"), "--version", "1")
    assert next((tmp_path / "back").rglob("weights.bin")).read_bytes() == b"w" * 1000
    assert "files." in mlmesh(mesh, "models", "compare", "toy", "1", "2")
    assert "intact" in mlmesh(mesh, "models", "verify", "toy", "2")
    assert "champion" in mlmesh(mesh, "models", "delete", "toy", "--version", "1", "--yes", succeeds=False)
    mlmesh(mesh, "models", "alias", "toy", "champion", "--delete")
    mlmesh(mesh, "models", "delete", "toy", "--version", "1", "--yes")
    mlmesh(mesh, "models", "restore", "toy", "--version", "1")
    versions = mlmesh_json(mesh, "models", "versions", "toy")
    assert isinstance(versions, list)
    assert [version["version"] for version in versions] == [2, 1]


def test_a_login_is_kept_for_its_mesh_until_the_logout(mesh: WholeMesh, tmp_path: Path) -> None:
    mlmesh(mesh, "users", "create", "ada", "--password", "correct horse battery", "--role", "viewer", succeeds=True)
    elsewhere = {"XDG_CONFIG_HOME": str(tmp_path), "MLMESH_DATA_DIR": str(tmp_path / "none")}

    def as_ada(*arguments: str) -> tuple[int, str]:
        done = run_mlmesh(*arguments, environment=elsewhere)
        return done.returncode, done.stdout + done.stderr

    code, said = as_ada("login", mesh.url, "--username", "ada", "--password", "wrong password here")
    assert (code, "error:" in said) == (1, True)
    code, said = as_ada("login", mesh.url, "--username", "ada", "--password", "correct horse battery")
    assert code == 0, said
    assert json.loads(as_ada("whoami", "--url", mesh.url, "--json")[1])["user"]["username"] == "ada"
    assert as_ada("models", "delete", "toy", "--yes", "--url", mesh.url)[0] == 1
    assert as_ada("logout", mesh.url)[0] == 0
    assert as_ada("whoami", "--url", mesh.url)[0] == 1


def test_an_api_key_made_by_command_works_until_it_is_revoked(mesh: WholeMesh) -> None:
    key = mlmesh(mesh, "keys", "create", "nightly", "--days", "1").strip()
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{mesh.url}/api/v1/auth/me", headers=headers, timeout=30).status_code == 200
    mlmesh(mesh, "keys", "revoke", key.split("_")[1])
    assert run_mlmesh("token", "--url", mesh.url, environment={"MLMESH_API_KEY": key}).returncode == 1


def test_logs_of_every_process_are_there(mesh: WholeMesh) -> None:
    for process in ("control", "serving", "gateway"):
        assert "serves on" in mlmesh(mesh, "logs", process, "--lines", "1000000")
