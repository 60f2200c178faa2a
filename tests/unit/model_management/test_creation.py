from __future__ import annotations

import sys

import pytest

from model_management import create_registry
from model_management.errors import InvalidValue
from sql_engine import DatabaseUrlError


def test_registries_are_kept_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("MLMESH_REGISTRY_PATH", str(tmp_path / "here"))
    for kind in ("local", "database"):
        with create_registry(kind) as registry:
            registry.create_model("m")
    assert (tmp_path / "here" / "local" / "metadata" / "snapshot.jsonl").exists()
    assert (tmp_path / "here" / "database" / "registry.db").exists()


def test_registries_are_kept_in_the_home_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("MLMESH_REGISTRY_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    create_registry("local").create_model("m")
    assert (tmp_path / ".mlmesh" / "registry" / "local").is_dir()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("cloud", {}, "allowed are local, database, grpc"),
        ("local", {"url": "sqlite:///x"}, "url: does not go with a registry of kind 'local'"),
        ("grpc", {"path": "/x"}, "allowed are token, url"),
        ("local", {"project": "No Project"}, "is no project"),
    ],
)
def test_an_argument_that_does_not_go_with_the_kind_is_refused(kind, options, message):
    with pytest.raises(InvalidValue, match=message):
        create_registry(kind, **options)


def test_a_wrong_url_is_refused(tmp_path):
    with pytest.raises(DatabaseUrlError):
        create_registry("database", path=tmp_path, url="oracle://x")
    with pytest.raises(ValueError, match="blob store"):
        create_registry("local", path=tmp_path, storage="ftp://x")


def test_a_remote_registry_without_the_client_library_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlmesh.model_registry_backend", None)
    with pytest.raises(InvalidValue, match="needs the client library"):
        create_registry("grpc", url="http://localhost:1", token="t")
