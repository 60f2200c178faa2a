from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlmesh.configuration import ApiKey, Password, SavedSession, Token, resolve
from mlmesh.errors import InvalidArgument, NotConnected
from mlmesh.saved_logins import forget_login, save_login, saved_login


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose lock is held, as by a supervisor."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "token").write_text("mlm_local_key\n")
    (folder / "state.json").write_text(json.dumps({"url": "http://127.0.0.1:9999", "supervisor_pid": 1, "processes": []}))
    lock = os.open(folder / "mesh.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield folder
    os.close(lock)


def environment(tmp_path: Path, **variables: str) -> dict[str, str]:
    return {"MLMESH_DATA_DIR": str(tmp_path / "none"), "XDG_CONFIG_HOME": str(tmp_path / "config"), **variables}


def test_the_mesh_on_this_machine_is_found_with_its_own_credential(running: Path, tmp_path: Path) -> None:
    connection = resolve(environment=environment(tmp_path, MLMESH_DATA_DIR=str(running)))
    assert connection.address.url == "http://127.0.0.1:9999"
    assert connection.credential == ApiKey("mlm_local_key")


def test_the_local_credential_goes_to_no_other_mesh(running: Path, tmp_path: Path) -> None:
    variables = environment(tmp_path, MLMESH_DATA_DIR=str(running))
    assert resolve("http://elsewhere:8080", environment=variables).credential is None
    assert resolve("http://127.0.0.1:9999/", environment=variables).credential == ApiKey("mlm_local_key")


def test_a_data_directory_asked_for_by_name_beats_the_environment(running: Path, tmp_path: Path) -> None:
    variables = environment(tmp_path, MLMESH_URL="http://elsewhere:1", MLMESH_TOKEN="other")
    connection = resolve(data_dir=running, environment=variables)
    assert (connection.address.url, connection.credential) == ("http://127.0.0.1:9999", ApiKey("mlm_local_key"))


def test_arguments_beat_the_environment(tmp_path: Path) -> None:
    variables = environment(tmp_path, MLMESH_URL="http://elsewhere:1", MLMESH_TOKEN="other")
    connection = resolve("http://mesh:2", token="mine", environment=variables)
    assert (connection.address.url, connection.credential) == ("http://mesh:2", Token("mine"))


def test_a_token_of_the_environment_beats_its_api_key(tmp_path: Path) -> None:
    both = environment(tmp_path, MLMESH_URL="http://mesh:1", MLMESH_TOKEN="t", MLMESH_API_KEY="k")
    assert resolve(environment=both).credential == Token("t")
    del both["MLMESH_TOKEN"]
    assert resolve(environment=both).credential == ApiKey("k")


def test_an_api_key_given_as_a_token_is_exchanged_like_any_other(tmp_path: Path) -> None:
    connection = resolve(environment=environment(tmp_path, MLMESH_URL="http://mesh:1", MLMESH_TOKEN="mlm_1_s"))
    assert connection.credential == ApiKey("mlm_1_s")


def test_user_name_and_password_are_a_credential(tmp_path: Path) -> None:
    connection = resolve("http://mesh:1", username="ada", password="secret", environment=environment(tmp_path))
    assert connection.credential == Password("ada", "secret")


def test_half_a_credential_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="belong together"):
        resolve("http://mesh:1", username="ada", environment=environment(tmp_path))


def test_two_credentials_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="one credential, not token and api_key"):
        resolve("http://mesh:1", token="t", api_key="k", environment=environment(tmp_path))


def test_without_any_mesh_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NotConnected) as error:
        resolve(environment=environment(tmp_path))
    assert "none runs on" in error.value.message
    assert "mlmesh up" in error.value.hint


def test_a_mesh_that_stopped_without_cleaning_up_is_not_running(running: Path, tmp_path: Path) -> None:
    (running / "mesh.lock").unlink()
    with pytest.raises(NotConnected):
        resolve(data_dir=running, environment=environment(tmp_path))


def test_a_saved_login_goes_to_its_mesh_only(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    save_login("https://mesh.example.org:443", "mlm_saved_key", variables)
    assert resolve("https://mesh.example.org", environment=variables).credential == ApiKey("mlm_saved_key")
    assert resolve("http://mesh.example.org:443", environment=variables).credential is None


def test_saved_logins_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    file = save_login("http://a:1", "key-a", variables)
    save_login("http://b:1", "key-b", variables)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert forget_login("http://a:1", variables) == "key-a"
    assert (saved_login("http://a:1", variables), saved_login("http://b:1", variables)) == ("", "key-b")


def test_a_saved_session_is_known_from_a_saved_key(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    save_login("http://mesh:1", "a-refresh-token", variables)
    assert resolve("http://mesh:1", environment=variables).credential == SavedSession("http://mesh:1")
