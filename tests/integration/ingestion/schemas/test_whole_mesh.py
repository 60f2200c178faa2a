"""Schemas through the gateway: REST, the client and the commands; and what a change of columns would break."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import mlmesh
import numpy as np
import pandas as pd
import pytest
from mlmesh.errors import IngestionFailed, InvalidArgument, NotFound
from mlmesh.ingestions import AffectedConsumer
from mlops.registry.v1 import model_pb2
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from tests.whole_mesh import WholeMesh, run_mlmesh, whole_mesh

ROWS = [{"delay": float(number), "distance": 2.0 * number, "carrier": "UA"} for number in range(20)]


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    # What a busy registry does not answer in time is a warning.
    with whole_mesh({"MLMESH_INGESTION_CONSUMERS_TIMEOUT_S": "25"}) as running:
        yield running


@pytest.fixture(scope="module")
def client(mesh: WholeMesh) -> Iterator[mlmesh.Mesh]:
    with mesh.client() as connected:
        yield connected


def ingested(client: mlmesh.Mesh, name: str, **more: Any) -> str:
    client.ingestion.ingest_data(name, ROWS, **more)
    return name


def register(client: mlmesh.Mesh, model: str, lineage: model_pb2.Lineage, *, of_columns: bool, project: str = "") -> None:
    rows = pd.DataFrame(ROWS)
    late = np.arange(len(rows)) > 9
    if of_columns:
        inputs: Any = rows.astype({"delay": np.float32, "carrier": object})[["carrier", "delay"]]
        ordinals = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)
        columns = ColumnTransformer([("categories", ordinals, ["carrier"]), ("measures", "passthrough", ["delay"])])
        fitted: Any = Pipeline([("columns", columns), ("late", LogisticRegression())]).fit(inputs, late)
    else:
        inputs = rows[["delay", "distance"]].to_numpy(np.float32)
        fitted = LogisticRegression().fit(inputs, late)
    client.registry.save_model(fitted, model, "Made by a test", sample_input=inputs, onnx="require", lineage=lineage, project=project)


def of_dataset(name: str, **more: str) -> model_pb2.Lineage:
    return model_pb2.Lineage(datasets=[model_pb2.DatasetReference(name=name, **more)])


@pytest.fixture(scope="module")
def models(client: mlmesh.Mesh) -> None:
    """Models that were trained on `flights`, on others, and in another project."""
    dataset = client.ingestion.get_dataset(ingested(client, "flights"))
    register(client, "by-columns", of_dataset(f"flights@{dataset.version}", uri=dataset.uri), of_columns=True)
    register(client, "by-position", of_dataset("whatever", uri=dataset.uri), of_columns=False)
    register(client, "by-position", of_dataset("flights"), of_columns=False)
    register(client, "of-another", of_dataset("flights2"), of_columns=True)
    register(client, "without-lineage", model_pb2.Lineage(), of_columns=True)
    register(client, "elsewhere", of_dataset("flights"), of_columns=True, project="other")


@pytest.mark.usefixtures("models")
def test_a_change_tells_what_it_would_break(client: mlmesh.Mesh) -> None:
    foreseen = client.schemas.change_schema("flights", rename={"delay": "late_by"}, drop=["carrier"], validate_only=True)

    assert foreseen.state == "succeeded"
    assert foreseen.affected == (
        AffectedConsumer("model", "by-columns", "1", ("delay", "carrier")),
        AffectedConsumer("model", "by-position", "1", ()),
        AffectedConsumer("model", "by-position", "2", ()),
    )
    assert foreseen.warnings == ()
    assert client.schemas.list_schema_versions("flights").to_list()[0].columns == client.ingestion.get_dataset("flights").columns


@pytest.mark.usefixtures("models")
def test_an_ingestion_tells_what_it_would_break(client: mlmesh.Mesh) -> None:
    widening = client.ingestion.ingest_data("flights", [{"delay": 1.0, "carrier": "AA", "new": 1}], validate_only=True)
    ingested(client, "counts")
    client.ingestion.ingest_data("counts", b"number\n1\n", name="more.csv")
    register(client, "of-counts", of_dataset("counts"), of_columns=True)
    widened = client.ingestion.ingest_data("counts", b"number\n0.5\n", name="more.csv", validate_only=True)

    # A new column breaks nobody.
    assert (widening.schema_changes, widening.affected) == (("column 'new' was added (int64)",), ())
    assert widened.schema_changes == ("column 'number' was widened from int64 to double",)
    assert widened.affected == (AffectedConsumer("model", "of-counts", "1", ()),)


@pytest.mark.usefixtures("models")
def test_who_may_not_read_models_is_told_so(mesh: WholeMesh, client: mlmesh.Mesh) -> None:
    client.users.create_role("writer-of-data", permissions=["ingestion.*"])
    user = client.users.create_user("data-writer", password="a long enough password")
    client.users.create_role_binding(user.id, "writer-of-data")
    answer = mesh.request("POST", "/api/v1/auth/login", token=None, json={"username": "data-writer", "password": "a long enough password"})
    token = answer.json()["access_token"]

    foreseen = mesh.request(
        "POST",
        "/api/v1/datasets/flights/schema:change",
        token=token,
        json={"renamed_columns": {"delay": "late_by"}, "validate_only": True},
    ).json()

    assert foreseen["state"] == "JOB_STATE_SUCCEEDED", foreseen
    assert foreseen["affected"] == []
    assert foreseen["warnings"] == ["models that use the dataset are not told, because you lack the permission registry.models.read"]


def test_rest_changes_columns_and_lists_schemas(mesh: WholeMesh) -> None:
    file = {"data": base64.b64encode(b"a,b\n1,x\n").decode(), "name": "a.csv"}
    mesh.request("POST", "/api/v1/data/ingest", json={"dataset": "rest", "source": {"file": file}, "wait": "30s"}).raise_for_status()

    changed = mesh.request("POST", "/api/v1/datasets/rest/schema:change", json={"renamed_columns": {"a": "b", "b": "a"}, "wait": "30s"})
    listed = mesh.request("GET", "/api/v1/datasets/rest/schemas", params={"page_size": 1})

    assert changed.json()["state"] == "JOB_STATE_SUCCEEDED", changed.text
    (newest,) = listed.json()["schemas"]
    assert [column["name"] for column in newest["columns"]] == ["b", "a"]
    assert newest["ingestion_id"] == changed.json()["id"]
    token = listed.json()["next_page_token"]
    (oldest,) = mesh.request("GET", "/api/v1/datasets/rest/schemas", params={"page_size": 1, "page_token": token}).json()["schemas"]
    assert oldest["changes"] == ["the table was created with 2 columns"]
    assert mesh.request("GET", "/api/v1/datasets/other/schemas", params={"page_token": token}).status_code in (400, 404)


def test_the_client_waits_for_a_change_and_raises_where_it_fails(client: mlmesh.Mesh) -> None:
    name = ingested(client, "waited")

    done = client.schemas.change_schema(name, rename={"delay": "late_by"})
    with pytest.raises(IngestionFailed, match="it has 'late_by'"):
        client.schemas.change_schema(name, rename={"delay": "x"})
    with pytest.raises(InvalidArgument, match="nothing is to be changed"):
        client.schemas.change_schema(name)
    with pytest.raises(NotFound):
        client.schemas.change_schema("nobody", drop=["a"])

    assert (done.state, done.schema_changes, done.rows_read) == ("succeeded", ("column 'delay' was renamed to 'late_by'",), 20)
    assert [column.name for column in client.ingestion.get_dataset(name).columns] == ["late_by", "distance", "carrier"]


@pytest.mark.usefixtures("models")
def test_commands_change_columns_and_foresee(mesh: WholeMesh, client: mlmesh.Mesh, tmp_path: Any) -> None:
    where = ("--data-dir", str(mesh.data_dir))
    name = ingested(client, "commanded")
    (tmp_path / "bad.csv").write_text("delay,distance\nlate,1\n")

    foreseen = run_mlmesh("datasets", "change-schema", "flights", "--rename", "delay=late_by", "--validate-only", *where)
    changed = run_mlmesh(
        "datasets", "change-schema", name, "--rename", "delay=distance", "--rename", "distance=delay", "--drop", "carrier", *where
    )
    listed = run_mlmesh("datasets", "schemas", name, "--json", *where)
    failing = run_mlmesh("data", "ingest", name, str(tmp_path / "bad.csv"), "--types", "freeze", "--validate-only", *where)
    wrong = run_mlmesh("datasets", "change-schema", name, "--rename", "delay", *where)

    assert (foreseen.returncode, changed.returncode, listed.returncode, failing.returncode, wrong.returncode) == (0, 0, 0, 1, 2)
    assert "by-columns" in foreseen.stdout
    assert "column 'delay' was renamed to 'late_by'" in foreseen.stdout
    assert "column 'carrier' was dropped" in changed.stdout
    assert [column["name"] for column in json.loads(listed.stdout)[0]["columns"]] == ["distance", "delay"]
    assert "VALUE_DOES_NOT_FIT" in failing.stdout
    assert "OLD=NEW" in wrong.stderr
