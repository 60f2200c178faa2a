"""Data from the request to the dataset, through the gateway."""

from __future__ import annotations

import base64
import gzip
import io
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlops.common.v1.job_pb2 import JOB_STATE_SUCCEEDED
from mlops.ingestion.v1 import ingestion_pb2
from mlops.ingestion.v1 import ingestion_service_pb2 as pb
from mlops.ingestion.v1.ingestion_service_pb2_grpc import DataIngestionServiceStub

from tests.integration.runtime.rich_errors import refused
from tests.whole_mesh import WholeMesh

FLIGHTS = b"""id,carrier,delay,day
1,UA,2.5,2013-01-01
2,AA,,2013-01-01
3,UA,-4.0,2013-01-02
"""


@pytest.fixture
def dataset() -> str:
    return f"flights_{uuid.uuid4().hex[:8]}"


Ingest = Callable[..., dict[str, Any]]


@pytest.fixture
def ingest(mesh: WholeMesh, dataset: str) -> Ingest:
    def send(data: bytes = FLIGHTS, name: str = "flights.csv", **more: Any) -> dict[str, Any]:
        body = {"dataset": dataset, "source": {"file": {"data": base64.b64encode(data).decode(), "name": name}}, "wait": "30s", **more}
        response = mesh.request("POST", "/api/v1/data/ingest", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    return send


def rows_of(mesh: WholeMesh, dataset: str, query: str = "") -> list[dict[str, Any]]:
    response = mesh.request("GET", f"/api/v1/datasets/{dataset}:preview?limit=1000{query}")
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()["rows"]
    return sorted(rows, key=lambda row: row["id"])


def reason_of(ingestion: dict[str, Any]) -> str:
    assert ingestion["state"] == "JOB_STATE_FAILED", ingestion
    reason: str = ingestion["error"]["details"][0]["reason"]
    return reason


def test_a_file_in_a_request_becomes_a_dataset(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    ingestion = ingest()

    assert ingestion["state"] == "JOB_STATE_SUCCEEDED", ingestion
    assert (ingestion["rows_read"], ingestion["rows_added"], ingestion["rows_rejected"]) == ("3", "3", "0")
    assert mesh.request("GET", f"/api/v1/data/ingestions/{ingestion['id']}").json() == ingestion
    found = mesh.request("GET", f"/api/v1/datasets/{dataset}").json()
    assert found["columns"] == [
        {"name": "id", "type": "int64"},
        {"name": "carrier", "type": "string"},
        {"name": "delay", "type": "double"},
        {"name": "day", "type": "date32[day]"},
    ]
    assert (found["version"], found["row_count"]) == (ingestion["version"], "3")
    assert rows_of(mesh, dataset) == [
        {"id": 1, "carrier": "UA", "delay": 2.5, "day": "2013-01-01"},
        {"id": 2, "carrier": "AA", "delay": None, "day": "2013-01-01"},
        {"id": 3, "carrier": "UA", "delay": -4.0, "day": "2013-01-02"},
    ]


def test_rows_in_a_request_replace_those_of_their_keys(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    ingest()

    body = {
        "dataset": dataset,
        "source": {"rows": {"rows": [{"id": 2, "carrier": "AA", "delay": 7}, {"id": 4, "carrier": "B6", "delay": 0.5}]}},
        "mode": "WRITE_MODE_UPSERT",
        "keys": ["id"],
        "wait": "30s",
    }
    ingestion = mesh.request("POST", "/api/v1/data/ingest", json=body).json()

    assert (ingestion["rows_added"], ingestion["rows_updated"]) == ("1", "1"), ingestion
    assert [(row["id"], row["delay"]) for row in rows_of(mesh, dataset)] == [(1, 2.5), (2, 7.0), (3, -4.0), (4, 0.5)]


def test_versions_are_kept_and_come_back(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    first = ingest()
    second = ingest(b"id,carrier,delay,day\n9,DL,1.5,2013-01-03\n", mode="WRITE_MODE_OVERWRITE")

    assert [row["id"] for row in rows_of(mesh, dataset)] == [9]
    assert [row["id"] for row in rows_of(mesh, dataset, f"&version={first['version']}")] == [1, 2, 3]
    old = mesh.request("GET", f"/api/v1/datasets/{dataset}?version={first['version']}").json()
    assert (old["version"], old["row_count"]) == (first["version"], "3")
    listed = mesh.request("GET", f"/api/v1/datasets/{dataset}/versions?page_size=1").json()
    assert [version["ingestion_id"] for version in listed["versions"]] == [second["id"]]
    rest = mesh.request("GET", f"/api/v1/datasets/{dataset}/versions?page_token={listed['next_page_token']}").json()["versions"]
    assert first["id"] in [version["ingestion_id"] for version in rest]

    rolled_back = mesh.request("POST", f"/api/v1/datasets/{dataset}:rollback", json={"version": first["version"]}).json()

    assert int(rolled_back["version"]) > int(second["version"])
    assert [row["id"] for row in rows_of(mesh, dataset)] == [1, 2, 3]


def test_a_file_below_an_allowed_folder_is_read_and_no_other(mesh: WholeMesh, dataset: str, landing: Path) -> None:
    table = pa.table({"id": range(50_000), "delay": [0.5] * 50_000})
    pq.write_table(table, landing / f"{dataset}.parquet")

    def ingested(uri: str) -> dict[str, Any]:
        body = {"dataset": dataset, "source": {"uri": uri}, "wait": "30s"}
        answer: dict[str, Any] = mesh.request("POST", "/api/v1/data/ingest", json=body).json()
        return answer

    assert ingested((landing / f"{dataset}.parquet").as_uri())["rows_added"] == "50000"
    (landing / f"{dataset}.csv").symlink_to("/etc/passwd")
    for outside in (
        "file:///etc/passwd",
        f"{landing.as_uri()}/../../../../etc/passwd",
        f"{landing.as_uri()}/%2e%2e/token",
        f"{landing.as_uri()}/{dataset}.csv",
        "s3://bucket/key",
    ):
        assert ingested(outside)["details"][0]["reason"] == "SOURCE_NOT_ALLOWED", outside
    assert mesh.request("GET", f"/api/v1/datasets/{dataset}").json()["row_count"] == "50000"


@pytest.mark.parametrize(
    ("data", "name", "reason"),
    [
        (b"a,b\n1,2\n3,4,5\n", "ragged.csv", "RAGGED_ROW"),
        (b"PAR1 and nothing more PAR1", "cut.parquet", "CORRUPT_FILE"),
        (b"a\n\xff\xfe\xfa\n", "latin.csv", "WRONG_ENCODING"),
        (b'{"a": 1}\n{"a": "x"}\n', "mixed.ndjson", "MIXED_TYPES"),
        (gzip.compress(b"a" + b"\n0" * 50_000_000), "bomb.csv.gz", "FILE_TOO_LARGE"),
        (b"whatever", "what.ever", "UNKNOWN_FORMAT"),
    ],
)
def test_a_bad_file_says_what_is_wrong_and_writes_nothing(
    mesh: WholeMesh, dataset: str, ingest: Ingest, data: bytes, name: str, reason: str
) -> None:
    ingestion = ingest(data, name)

    assert reason_of(ingestion) == reason
    assert name in ingestion["error"]["message"]
    assert mesh.request("GET", f"/api/v1/datasets/{dataset}").status_code == 404


def test_a_frozen_contract_refuses_and_a_discarding_one_tells_of_rows(dataset: str, ingest: Ingest) -> None:
    ingest()

    frozen = ingest(b"id,carrier,delay,day,gate\n5,UA,1.0,2013-01-05,B7\n", schema_contract={"columns": "CONTRACT_MODE_FREEZE"})
    discarding = ingest(
        b"id,carrier,delay,day\n6,UA,early,2013-01-06\n7,UA,3.5,2013-01-07\n",
        schema_contract={"types": "CONTRACT_MODE_DISCARD_ROW"},
    )

    assert reason_of(frozen) == "SCHEMA_FROZEN"
    assert (discarding["rows_added"], discarding["rows_rejected"]) == ("1", "1"), discarding
    assert discarding["rejected"] == [{"row": "1", "column": "delay", "value": "early", "reason": "VALUE_DOES_NOT_FIT"}]


def test_data_and_datasets_are_checked_against_a_suite(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    ingest()
    suite = {
        "name": "flights",
        "expectations": [
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "delay"}},
            {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "carrier", "value_set": ["UA", "AA"]}},
        ],
    }

    at_rest = mesh.request("POST", "/api/v1/data/validate", json={"suite": suite, "dataset": dataset}).json()
    source = {"file": {"data": base64.b64encode(FLIGHTS.replace(b",,", b",1.0,").replace(b"AA", b"ZZ")).decode(), "name": "flights.csv"}}
    in_the_request = mesh.request("POST", "/api/v1/data/validate", json={"suite": suite, "source": source}).json()
    neither = mesh.request("POST", "/api/v1/data/validate", json={"suite": suite})

    assert at_rest["status"] == "VALIDATION_STATUS_FAILED", at_rest
    assert [result["success"] for result in at_rest["results"]] == [False, True]
    assert [row["row"] for row in at_rest["results"][0]["unexpected_rows"]] == ["2"]
    assert [result["success"] for result in in_the_request["results"]] == [True, False]
    assert in_the_request["results"][1]["unexpected_rows"] == [{"row": "2", "column": "carrier", "value": "ZZ"}]
    assert (neither.status_code, neither.json()["details"][0]["reason"]) == (400, "NOTHING_TO_VALIDATE")


GATE = {
    "suite": {
        "name": "flights",
        "expectations": [
            {"type": "expect_column_values_to_be_between", "kwargs": {"column": "delay", "min_value": 0}},
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "day"}, "severity": "warning"},
        ],
    }
}


def test_a_gate_refuses_data_and_says_why(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    ingestion = ingest(gate=GATE)

    assert reason_of(ingestion) == "EXPECTATIONS_NOT_MET"
    assert "expect_column_values_to_be_between" in ingestion["error"]["message"]
    assert ingestion["validation"]["status"] == "VALIDATION_STATUS_FAILED"
    assert ingestion["validation"]["results"][0]["unexpected_rows"] == [{"row": "3", "column": "delay", "value": -4.0}]
    assert (ingestion["rows_read"], ingestion["rows_added"]) == ("3", "0")
    assert mesh.request("GET", f"/api/v1/datasets/{dataset}").status_code == 404


def test_a_discarding_gate_leaves_rows_out_and_numbers_them_as_the_file_does(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    ingest(b"id,carrier,delay,day\n0,UA,1.0,2013-01-01\n")
    rows = b"id,carrier,delay,day\n1,UA,-1,2013-01-01\n2,UA,2,2013-01-01\n3,UA,-3,2013-01-01\n4,UA,4,never\n5,UA,5,2013-01-01\n"

    ingestion = ingest(
        rows,
        gate={**GATE, "mode": "CONTRACT_MODE_DISCARD_ROW"},
        schema_contract={"types": "CONTRACT_MODE_DISCARD_ROW"},
    )

    assert ingestion["state"] == "JOB_STATE_SUCCEEDED", ingestion
    assert (ingestion["rows_read"], ingestion["rows_added"], ingestion["rows_rejected"]) == ("5", "2", "3")
    assert [(row["row"], row["column"], row["reason"]) for row in ingestion["rejected"]] == [
        ("1", "delay", "expect_column_values_to_be_between"),
        ("3", "delay", "expect_column_values_to_be_between"),
        ("4", "day", "VALUE_DOES_NOT_FIT"),
    ]
    assert [row["id"] for row in rows_of(mesh, dataset)] == [0, 2, 5]


def test_an_evolving_gate_only_reports(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    ingestion = ingest(gate={**GATE, "mode": "CONTRACT_MODE_EVOLVE"})

    assert (ingestion["rows_added"], ingestion["validation"]["status"]) == ("3", "VALIDATION_STATUS_FAILED")
    assert len(rows_of(mesh, dataset)) == 3


def test_a_repeated_request_ingests_once(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    request_id = str(uuid.uuid4())

    answers = [ingest(request_id=request_id) for _ in range(3)]

    assert len({answer["id"] for answer in answers}) == 1
    assert len(rows_of(mesh, dataset)) == 3


def test_lists_are_filtered_and_paged(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    ids = [ingest()["id"] for _ in range(3)] + [ingest(b"a,b\n1\n", "ragged.csv")["id"]]

    def listed(**query: str) -> dict[str, Any]:
        answer: dict[str, Any] = mesh.request("GET", "/api/v1/data/ingestions", params=query).json()
        return answer

    of_dataset = f'dataset = "{dataset}"'
    assert [item["id"] for item in listed(filter=of_dataset)["ingestions"]] == ids[::-1]
    assert [item["id"] for item in listed(filter=f'{of_dataset} AND state = "FAILED"')["ingestions"]] == ids[3:]
    first = listed(filter=of_dataset, page_size="3")
    second = listed(filter=of_dataset, page_size="3", page_token=first["next_page_token"])
    assert [item["id"] for page in (first, second) for item in page["ingestions"]] == ids[::-1]
    datasets = mesh.request("GET", "/api/v1/datasets", params={"filter": f'name = "{dataset}"'}).json()["datasets"]
    assert [(item["name"], item["row_count"]) for item in datasets] == [(dataset, "9")]


def test_a_deleted_dataset_is_gone_and_its_name_is_free(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    ingest()

    deleted = mesh.request("DELETE", f"/api/v1/datasets/{dataset}")
    assert deleted.status_code == 200, deleted.text
    assert mesh.request("GET", f"/api/v1/datasets/{dataset}").status_code == 404
    assert mesh.request("DELETE", f"/api/v1/datasets/{dataset}").status_code == 404

    ingest(b"id,gate\n1,B7\n")
    assert rows_of(mesh, dataset) == [{"id": 1, "gate": "B7"}]


def test_small_files_are_joined_and_what_is_suggested_is_met(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    for number in range(3):
        ingest(f"id,carrier,delay,day\n{number},UA,{number}.5,2013-01-01\n".encode())

    compacted = mesh.request("POST", f"/api/v1/datasets/{dataset}:compact", json={}).json()
    vacuumed = mesh.request("POST", f"/api/v1/datasets/{dataset}:vacuum", json={"retention": "86400s"})
    too_soon = mesh.request("POST", f"/api/v1/datasets/{dataset}:vacuum", json={"retention": "60s"})
    suite = mesh.request("GET", f"/api/v1/datasets/{dataset}:suggestExpectations").json()["suite"]
    report = mesh.request("POST", "/api/v1/data/validate", json={"suite": suite, "dataset": dataset}).json()

    assert (compacted["removed_file_count"], compacted["added_file_count"]) == ("3", "1")
    assert mesh.request("GET", f"/api/v1/datasets/{dataset}").json()["version"] == compacted["version"]
    assert (vacuumed.status_code, too_soon.status_code) == (200, 400)
    assert [row["id"] for row in rows_of(mesh, dataset)] == [0, 1, 2]
    assert len(suite["expectations"]) > 4
    assert report["status"] == "VALIDATION_STATUS_PASSED", report


def test_grpc_callers_get_the_same(mesh: WholeMesh, dataset: str) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": [1, 2, 2**62]}), buffer)
    with mesh.channel() as channel:
        stub = DataIngestionServiceStub(channel)
        request = pb.IngestDataRequest(
            dataset=dataset, source=ingestion_pb2.Source(file=ingestion_pb2.InlineFile(data=buffer.getvalue())), wait={"seconds": 30}
        )
        ingestion = stub.IngestData(request, metadata=mesh.bearer())
        assert (ingestion.state, ingestion.rows_added) == (JOB_STATE_SUCCEEDED, 3), ingestion
        preview = stub.PreviewDataset(pb.PreviewDatasetRequest(name=dataset), metadata=mesh.bearer())
        assert b'{"id":4611686018427387904}' in preview.data
        refusal = refused(lambda: stub.GetDataset(pb.GetDatasetRequest(name=dataset, version=99), metadata=mesh.bearer()))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "TABLE_VERSION_NOT_FOUND")


def test_another_project_sees_nothing_of_it(mesh: WholeMesh, dataset: str, ingest: Ingest) -> None:
    ingestion = ingest()

    assert mesh.request("GET", f"/api/v1/datasets/{dataset}?project=other").status_code == 404
    assert mesh.request("GET", f"/api/v1/data/ingestions/{ingestion['id']}?project=other").status_code == 404
    assert "datasets" in mesh.request("GET", "/api/v1/datasets?project=other").json()
