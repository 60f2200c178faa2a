from __future__ import annotations

import pytest

from servers.system.settings import SystemSettings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMESH_SERVING_ADDRESS", "unix:/run/serving.sock")
    monkeypatch.setenv("MLMESH_SERVING_WORKER_ADDRESSES", '["unix:/run/serving-2.sock"]')


def test_components_and_their_workers_are_found_in_the_environment():
    settings = SystemSettings()

    assert settings.component_addresses["serving"] == "unix:/run/serving.sock"
    assert settings.worker_addresses == {"serving": ("unix:/run/serving-2.sock",)}


def test_who_names_the_components_names_their_workers():
    assert SystemSettings(component_addresses={"serving": "host:1"}).worker_addresses == {}


def test_a_component_without_workers_has_none(monkeypatch):
    monkeypatch.setenv("MLMESH_SERVING_WORKER_ADDRESSES", "[]")

    assert SystemSettings().worker_addresses == {}


@pytest.mark.parametrize("text", ["unix:/run/serving-2.sock", '"unix:/run/serving-2.sock"', "[1]"])
def test_what_is_no_list_of_targets_is_refused_by_name(monkeypatch, text):
    monkeypatch.setenv("MLMESH_SERVING_WORKER_ADDRESSES", text)

    with pytest.raises(ValueError, match="MLMESH_SERVING_WORKER_ADDRESSES has to be a JSON list"):
        SystemSettings()
