"""Profiles through the gateway: REST, the client and the commands."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlmesh.errors import NotFound

from tests.whole_mesh import WholeMesh, run_mlmesh, whole_mesh

FLIGHTS = b"id,carrier,delay\n" + b"".join(
    b"%d,%s,%d.5\n" % (number, b"UA" if number % 4 else b"<b>", number % 60) for number in range(400)
)
SUITE = {
    "name": "flights",
    "expectations": [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "delay", "max_value": 50}}],
}


@pytest.fixture(scope="module")
def mesh() -> Iterator[WholeMesh]:
    with whole_mesh() as running:
        yield running


@pytest.fixture(scope="module")
def ingestion(mesh: WholeMesh) -> dict[str, Any]:
    body = {"dataset": "flights", "source": {"file": {"data": base64.b64encode(FLIGHTS).decode(), "name": "flights.csv"}}, "wait": "30s"}
    answer: dict[str, Any] = mesh.request("POST", "/api/v1/data/ingest", json=body).json()
    assert answer["state"] == "JOB_STATE_SUCCEEDED", answer
    return answer


def test_rest_gives_a_profile(mesh: WholeMesh, ingestion: dict[str, Any]) -> None:
    answer = mesh.request("GET", "/api/v1/datasets/flights/profile")

    assert answer.status_code == 200, answer.text
    profile = answer.json()
    assert (profile["dataset"], profile["version"], profile["row_count"]) == ("flights", ingestion["version"], "400")
    carrier = next(column for column in profile["columns"] if column["name"] == "carrier")
    assert carrier["frequent_values"] == [{"value": "UA", "count": "300"}, {"value": "<b>", "count": "100"}]
    assert mesh.request("GET", "/api/v1/datasets/flights/profile", params={"version": ingestion["version"]}).json() == profile


@pytest.mark.parametrize("page", ["profile", "ingestion", "validation"])
def test_rest_gives_pages(mesh: WholeMesh, ingestion: dict[str, Any], page: str) -> None:
    if page == "validation":
        answer = mesh.request("POST", "/api/v1/data/validate:html", json={"validation": {"dataset": "flights", "suite": SUITE}})
    else:
        path = "datasets/flights/profile:html" if page == "profile" else f"data/ingestions/{ingestion['id']}:html"
        answer = mesh.request("GET", f"/api/v1/{path}")

    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert "<!doctype html>" in answer.text
    assert "<b>UA" not in answer.text


def test_a_page_of_what_does_not_exist_is_an_error_as_everywhere(mesh: WholeMesh, ingestion: dict[str, Any]) -> None:
    answer = mesh.request("GET", "/api/v1/datasets/nobody_knows/profile:html")

    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (404, "DATASET_NOT_FOUND")
    assert mesh.request("GET", "/api/v1/datasets/flights/profile:html", token=None).status_code == 401


def test_the_client_gives_values_and_pages(mesh: WholeMesh, ingestion: dict[str, Any]) -> None:
    with mesh.client() as client:
        profile = client.profiles.get_dataset_profile("flights")
        delay = profile.column("delay")

        assert (profile.row_count, delay.minimum, delay.maximum, delay.nan_count) == (400, 0.5, 59.5, 0)
        assert delay.median == 28.5
        assert delay.histogram is not None
        assert sum(delay.histogram.counts) == pytest.approx(400)
        assert "flights" in client.profiles.render_dataset_profile("flights", version=profile.version)
        assert "flights.csv" in client.profiles.render_ingestion(ingestion["id"])
        assert "not met" in client.profiles.render_validation(SUITE, dataset="flights")
        assert "not met" in client.profiles.render_validation(SUITE, source=FLIGHTS, name="flights.csv")
        with pytest.raises(NotFound):
            client.profiles.get_dataset_profile("nobody_knows")


def test_commands_show_a_profile_and_write_pages(mesh: WholeMesh, ingestion: dict[str, Any], tmp_path: Path) -> None:
    place = ("--data-dir", str(mesh.data_dir))
    shown = run_mlmesh("datasets", "profile", "flights", *place, environment={"COLUMNS": "160"})
    as_json = run_mlmesh("datasets", "profile", "flights", "--json", *place)
    written = run_mlmesh("datasets", "profile", "flights", "--html", str(tmp_path / "profile.html"), *place)
    report = run_mlmesh("data", "report", ingestion["id"], "--html", str(tmp_path / "report.html"), *place)
    nowhere = run_mlmesh("data", "report", ingestion["id"], "--html", str(tmp_path / "missing" / "report.html"), *place)

    assert [done.returncode for done in (shown, as_json, written, report)] == [0, 0, 0, 0], shown.stderr + written.stderr + report.stderr
    assert "UA (300), <b> (100)" in shown.stdout
    assert json.loads(as_json.stdout)["row_count"] == 400
    assert (tmp_path / "profile.html").read_text("utf-8").startswith("<!doctype html>")
    assert ingestion["id"] in (tmp_path / "report.html").read_text("utf-8")
    assert nowhere.returncode == 1
    assert "cannot be written" in nowhere.stderr
