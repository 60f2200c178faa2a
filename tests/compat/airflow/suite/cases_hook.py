"""Connections of Airflow as connections to the mesh."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import Connection
from given import URL
from mlmesh_airflow import MlmeshHook
from mlmesh_airflow.hook import connect_arguments


def connection(**fields: object) -> Connection:
    return Connection(**{"conn_id": "a", "conn_type": "mlmesh", "host": "mesh.example.org", "password": "mlm_key", **fields})


def test_the_mesh_answers_and_says_who_calls() -> None:
    is_fine, message = MlmeshHook().test_connection()

    assert is_fine, message
    assert message.startswith(f"connected to {URL} as ")


def test_a_key_that_is_none_is_told_of_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    known = MlmeshHook.get_connection("mlmesh_default")
    stranger = {"conn_type": "mlmesh", "host": known.host, "port": known.port, "schema": "http", "password": "mlm_stranger"}
    monkeypatch.setenv("AIRFLOW_CONN_STRANGER", json.dumps(stranger))

    is_fine, message = MlmeshHook("stranger").test_connection()

    assert not is_fine
    assert "stranger" not in message


def test_tls_is_the_default() -> None:
    assert connect_arguments(connection()) == {"url": "https://mesh.example.org", "api_key": "mlm_key"}


def test_everything_else_is_said() -> None:
    full = connection(host="::1", port=8080, schema="http", extra=json.dumps({"ca_file": "/ca.pem", "timeout_s": 5}))

    assert connect_arguments(full) == {"url": "http://[::1]:8080", "api_key": "mlm_key", "ca_file": "/ca.pem", "timeout_s": 5}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"host": None}, "has no host"),
        ({"password": None}, "has no password"),
        ({"schema": "grpc"}, "has the schema 'grpc'"),
        ({"extra": '{"cafile": "/ca.pem"}'}, "has cafile in its extra"),
    ],
)
def test_what_cannot_be_a_mesh_is_told_of_without_the_key(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as raised:
        connect_arguments(connection(**fields))

    assert "mlm_key" not in str(raised.value)
