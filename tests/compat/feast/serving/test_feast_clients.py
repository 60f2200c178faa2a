"""Feast's own client and stubs (its own venv) against a whole mesh, whose definitions were imported from Feast's repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from mlmesh.cli.feast_import import import_feast as import_command
from mlmesh.sync.feast_imports import import_feast
from typer.testing import CliRunner

from tests.whole_mesh import WholeMesh, whole_mesh

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
VENV = Path(os.environ.get("FEAST_VENV") or ROOT / ".venv-feast")
SETTINGS = """\
project: shop
registry: registry.db
provider: local
entity_key_serialization_version: 3
online_store:
  type: remote
  path: {url}
auth:
  type: oidc
  token_env_var: MLMESH_TOKEN
"""


@dataclass
class Repository:
    """A repository of Feast's.

    Args:
        folder: Its files.
        token: What its client shows: an API key, which lasts, or a token.
    """

    folder: Path
    token: str

    def run(self, program: str, *arguments: str, token: str | None = None) -> str:
        """Runs a program of Feast's venv there and returns what it printed."""
        environment: Mapping[str, str] = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "MLMESH_TOKEN": token or self.token}
        ran = subprocess.run(
            [VENV / "bin" / program, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def client(self, name: str, *arguments: str, token: str | None = None) -> Any:
        """Runs one of the programs beside this file and returns what it printed."""
        return json.loads(self.run("python", "-P", str(HERE / "client" / name), str(self.folder), *arguments, token=token).splitlines()[-1])

    def read_from(self, url: str) -> None:
        """Makes this the address of the mesh."""
        (self.folder / "feature_store.yaml").write_text(SETTINGS.format(url=url))


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    assert (VENV / "bin" / "python").exists(), "Feast has a venv of its own: run this by `make test-compat`"
    with whole_mesh() as running:
        yield running


@pytest.fixture(scope="module")
def repository(mesh: WholeMesh, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = Repository(tmp_path_factory.mktemp("repository"), (mesh.data_dir / "token").read_text("utf-8").strip())
    shutil.copy(HERE / "repository" / "definitions.py", made.folder)
    made.read_from(mesh.url)
    made.run("feast", "apply")
    return made


@pytest.fixture(scope="module")
def dump(repository: Repository) -> Path:
    path = repository.folder / "dump.json"
    path.write_text(repository.run("feast", "registry-dump"))
    return path


@pytest.fixture(scope="module")
def imported(mesh: WholeMesh, dump: Path) -> Any:
    with mesh.client() as client:
        return import_feast(client.features, dump)


@pytest.fixture(scope="module")
def answers(mesh: WholeMesh, repository: Repository, imported: Any) -> Any:
    return repository.client("asking.py", mesh.target)


def test_everything_that_can_be_is_imported_once(mesh: WholeMesh, dump: Path, imported: Any) -> None:
    with mesh.client() as client:
        again = import_feast(client.features, dump)
        views = {view.name: view for view in client.features.list_feature_views().to_list(10)}

    names = ["customer", "shop", "spending", "visits", "checkout", "friends"]
    assert sorted(item.name for item in imported.made) == sorted(names), imported
    assert sorted(item.name for item in again.unchanged) == sorted(names), again
    assert views["spending"].labels == {"tier": "gold", "feast_push_source": "spending_push"}
    assert views["spending"].spec["write_time_column"] == "written"


def test_the_command_says_what_it_would_make(mesh: WholeMesh, dump: Path, imported: Any) -> None:
    app = typer.Typer()
    app.command()(import_command)
    environment = {"MLMESH_URL": mesh.url, "MLMESH_TOKEN": mesh.token}

    ran = CliRunner().invoke(app, [str(dump), "--dry-run", "--project", "elsewhere", "--json"], env=environment)

    assert ran.exit_code == 0, ran.output
    assert {item["outcome"] for item in json.loads(ran.output)["items"]} == {"made"}


def test_feasts_client_writes_and_reads_every_type(answers: Any) -> None:
    store = answers["store"]

    assert store["values"] == {
        "customer_id": [1, 2, 3, 4],
        "amount": [12.5, None, None, None],
        "orders": [2**60, 3, None, None],
        "vip": [True, False, None, None],
        "word": ["é", None, None, None],
        "last": [store["last"], store["last"], None, None],
        "tags": [["a", "b"], ["c"], None, None],
    }
    # PRESENT, NULL_VALUE, OUTSIDE_MAX_AGE and NOT_FOUND.
    assert store["statuses"]["amount"] == [1, 2, 4, 3]


def test_services_and_full_names_are_those_of_feast(answers: Any) -> None:
    store = answers["store"]

    assert store["service"] == {
        "customer_id": [1, 2],
        "shop_code": ["a", "a"],
        "amount": [12.5, None],
        "orders": [2**60, 3],
        "count": [7, None],
    }
    assert store["full"] == {"customer_id": [1, 2], "shop_code": ["a", "a"], "spending__amount": [12.5, None], "visits__count": [7, None]}
    assert store["friends"] == {"customer_id": [1], "friend_id": [2], "friend__amount": [None], "spending__amount": [12.5]}


def test_refusals_are_feasts_own_exceptions(answers: Any) -> None:
    store = answers["store"]

    assert [store[name][0] for name in ("collision", "nowhere", "no_entity")] == [
        "FeatureNameCollisionError",
        "FeatureViewNotFoundException",
        "FeastError",
    ]
    assert "there is no feature view 'nowhere'" in store["nowhere"][1]


def test_feasts_stubs_push_and_read(answers: Any) -> None:
    stubs = answers["stubs"]

    assert stubs["pushed"]
    assert stubs["version"]
    assert (
        stubs["answers"]
        == [
            {
                "names": ["customer_id", "amount", "word"],
                "amounts": [0.25, None],
                "statuses": [[1, 1], [1, 3], [2, 3]],
                "time": stubs["now"],
            }
        ]
        * 2
    )
    assert stubs["refused"] == ["UNAUTHENTICATED"] * 2


def test_the_project_is_a_part_of_the_path(mesh: WholeMesh, repository: Repository, answers: Any, dump: Path) -> None:
    with mesh.client() as client:
        import_feast(client.features, dump, project="fares")
    try:
        repository.read_from(f"{mesh.url}/feast/fares")
        there = repository.client("reading.py", token=mesh.token)
        repository.read_from(f"{mesh.url}/feast/nowhere")
        nowhere = repository.client("reading.py")
    finally:
        repository.read_from(mesh.url)

    assert there == {"customer_id": [1], "amount": [None]}
    assert nowhere[0] == "FeatureViewNotFoundException"
    assert "'nowhere'" in nowhere[1]


def test_a_token_that_is_none_is_refused(repository: Repository, answers: Any) -> None:
    refused = repository.client("reading.py", token="none")

    assert refused[0] == "RuntimeError"
    assert "401" in refused[1]


def test_our_contract_has_the_numbers_and_types_of_feasts(repository: Repository) -> None:
    printed = repository.run("python", "-P", str(HERE / "client" / "comparing.py"), str(ROOT / "gen" / "descriptors" / "feast.binpb"))

    assert printed.splitlines() == ["3 files"]
