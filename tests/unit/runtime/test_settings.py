from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from servers.runtime.settings import ServerSettings


class ZooSettings(ServerSettings):
    component: ClassVar[str] = "zoo"
    listen: str = "127.0.0.1:9999"
    cages: int = 3


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("MLMESH_")]:
        monkeypatch.delenv(name)


def test_the_components_variable_beats_the_common_one_and_the_constructor_beats_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMESH_GRACE_S", "20")
    monkeypatch.setenv("MLMESH_ISSUER", "common")
    monkeypatch.setenv("MLMESH_ZOO_GRACE_S", "30")
    monkeypatch.setenv("MLMESH_ZOO_CAGES", "7")

    settings = ZooSettings()

    assert (settings.grace_s, settings.issuer, settings.cages, settings.listen) == (30, "common", 7, "127.0.0.1:9999")
    assert ServerSettings().grace_s == 20
    assert ZooSettings(grace_s=1).grace_s == 1


def test_database_and_blobs_are_below_the_data_folder_unless_said_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ZooSettings(data_dir=tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path}/mesh.db"
    assert settings.blob_url == f"file://{tmp_path}/blobs"

    monkeypatch.setenv("MLMESH_DATABASE_URL", "postgresql://db/mesh")
    assert ZooSettings(data_dir=tmp_path).database_url == "postgresql://db/mesh"


def test_a_relative_data_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLMESH_DATA_DIR", "data")

    assert ZooSettings().data_dir == tmp_path / "data"
    assert ZooSettings().database_url == f"sqlite:///{tmp_path}/data/mesh.db"


@pytest.mark.parametrize(("name", "value"), [("GRACE_S", "-1"), ("WORKER_THREADS", "0"), ("LOG_LEVEL", "LOUD"), ("MAX_MESSAGE_BYTES", "1")])
def test_a_value_out_of_range_is_refused_and_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MLMESH_{name}", value)

    with pytest.raises(ValidationError, match=name.lower()):
        ZooSettings()


def test_every_setting_says_what_it_does() -> None:
    """A string under each field. Read from the source: to collect them at import would cost each server 30 ms of start-up."""
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(ServerSettings))).body
    assert isinstance(declared, ast.ClassDef)
    documented = {
        field.target.id
        for field, below in itertools.pairwise(declared.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    }

    assert set(ServerSettings.model_fields) - documented == set()


def test_every_number_says_its_unit() -> None:
    """A number without a unit in its name is a count."""
    counts = {"worker_threads", "max_concurrent_calls", "trace_sample_ratio"}
    numbers = {name for name, field in ServerSettings.model_fields.items() if field.annotation in (int, float)}

    assert {name for name in numbers if not name.endswith(("_s", "_bytes"))} == counts
