from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple, Protocol

import grpc
import pytest
from mlops.users.v1 import users_service_pb2 as pb
from mlops.users.v1.users_service_pb2_grpc import UserServiceStub

from servers.users.__main__ import main

ROOT = Path(__file__).parents[3]


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """Runs a command on the data of a folder."""

    def __call__(self, folder: Path, *arguments: str) -> Outcome: ...


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'gen/python'}",
        "MLMESH_DATA_DIR": str(folder),
        "MLMESH_USERS_LISTEN": f"unix:{folder}/users.sock",
        "MLMESH_USERS_PASSWORD_MEMORY_KIB": "64",
        "MLMESH_DRAIN_S": "0",
    }


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, which saves the second that imports take."""

    def run_here(folder: Path, *arguments: str) -> Outcome:
        for name, value in environment(folder).items():
            if name.startswith("MLMESH_"):
                monkeypatch.setenv(name, value)
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = int(str(exit_.code))
        return Outcome(code, *capsys.readouterr())

    return run_here


def serve_until_asked(folder: Path) -> tuple[str, str, int]:
    """Serves, logs in with what is printed, stops by SIGTERM; gives both outputs and the exit code."""
    command = [sys.executable, "-m", "servers.users"]
    process = subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        with grpc.insecure_channel(f"unix:{folder}/users.sock") as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
            key = (folder / "token").read_text().strip()
            request = pb.ExchangeTokenRequest(grant_type="urn:mlmesh:params:oauth:grant-type:api-key", api_key=key)
            assert UserServiceStub(channel).ExchangeToken(request, timeout=10).access_token
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        watchdog.cancel()
        if process.poll() is None:
            process.kill()
    return out, err, process.returncode


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str, int]:
    folder = tmp_path_factory.mktemp("users")
    return (folder, *serve_until_asked(folder))


def test_the_first_start_prints_the_password_once_and_logs_it_never(first_run: tuple[Path, str, str, int]) -> None:
    folder, out, err, code = first_run

    password = re.search(r"password  (\S+)", out)
    assert password is not None
    assert out.count(password[1]) == 1
    assert password[1] not in err
    assert code == 0
    assert not (folder / "secrets" / "initial-admin-password").exists()
    again, _, code = serve_until_asked(folder)
    assert (again, code) == ("", 0)


def test_no_credential_is_in_the_log(first_run: tuple[Path, str, str, int]) -> None:
    folder, _, err, _ = first_run

    assert (folder / "token").read_text().strip()[-40:] not in err
    assert "eyJ" not in err
    assert "PRIVATE" not in err


def test_a_socket_and_its_files_are_for_their_owner_only(first_run: tuple[Path, str, str, int]) -> None:
    folder = first_run[0]

    loose = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077 and "lock" not in path.name]
    assert loose == []


def test_the_audit_log_is_verified_from_the_command_line(run: Run, first_run: tuple[Path, str, str, int]) -> None:
    folder = first_run[0]

    fine = run(folder, "verify-audit")
    assert (fine.code, fine.err) == (0, "")
    assert "intact" in fine.out
    kept = re.search(r"(\d+:[0-9a-f]{64})", fine.out)
    assert kept is not None
    assert run(folder, "verify-audit", "--checkpoint", kept[1]).code == 0
    assert run(folder, "verify-audit", "--checkpoint", f"1:{'0' * 64}").code == 1
    assert "SEQUENCE:HASH" in run(folder, "verify-audit", "--checkpoint", "nonsense").err


def test_a_tampered_log_makes_the_command_fail(run: Run, tmp_path: Path) -> None:
    serve_until_asked(tmp_path)
    (database,) = [file for file in tmp_path.glob("*.db") if "users" in file.name]
    with sqlite3.connect(database) as connection:
        connection.execute("DELETE FROM audit_events")

    found = run(tmp_path, "verify-audit")

    assert found.code == 1
    assert "number 1 is the first that is wrong or missing" in found.out


def test_an_operator_who_lost_every_password_gets_in_again(run: Run, first_run: tuple[Path, str, str, int]) -> None:
    folder = first_run[0]

    done = run(folder, "reset-password", "admin")
    assert re.search(r"new password of admin: \S{24}", done.out)
    missing = run(folder, "reset-password", "nobody")
    assert (missing.code, "nobody" in missing.err) == (1, True)


def test_keys_are_rotated_from_the_command_line(run: Run, first_run: tuple[Path, str, str, int]) -> None:
    assert run(first_run[0], "rotate-keys").code == 0
    assert "every token has ended" in run(first_run[0], "rotate-keys", "--withdraw").out


def test_a_damaged_secret_is_a_clean_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "users.kek").write_bytes(b"short")

    failed = run(tmp_path)

    assert failed.code == 1
    assert "users.kek holds 5 bytes" in failed.err
    assert "Traceback" not in failed.err
