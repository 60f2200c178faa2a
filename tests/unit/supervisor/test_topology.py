from __future__ import annotations

import json
from pathlib import Path

import pytest

from servers.runtime.processes import check_table
from servers.topology import COMPONENTS, Place, mesh_environment, mesh_processes


def test_the_table_of_the_mesh_is_sound(tmp_path: Path) -> None:
    check_table(mesh_processes(Place.of(tmp_path), "127.0.0.1", 8080))


def test_every_component_lives_in_exactly_one_process(tmp_path: Path) -> None:
    hosted = [name for process in mesh_processes(Place.of(tmp_path), "127.0.0.1", 8080) for name in process.components]
    assert sorted(hosted) == sorted([*(component.name for component in COMPONENTS), "gateway"])


def test_every_component_is_probed_where_its_settings_tell_it_to_listen(tmp_path: Path) -> None:
    place = Place.of(tmp_path)
    environment = mesh_environment(place, "127.0.0.1", 8080)
    for process in mesh_processes(place, "127.0.0.1", 8080):
        probed = {f"unix:{probe.socket}" for probe in process.probes}
        assert {environment[f"MLMESH_{name.upper()}_LISTEN"] for name in process.components} <= probed


@pytest.mark.parametrize(("count", "expected"), [("", 2), ("1", 1), ("3", 3)])
def test_as_many_processes_predict_as_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: str, expected: int) -> None:
    monkeypatch.setenv("MLMESH_SERVING_WORKERS", count)
    place = Place.of(tmp_path)
    processes = [process for process in mesh_processes(place, "127.0.0.1", 8080) if process.name.startswith("serving")]
    environment = mesh_environment(place, "127.0.0.1", 8080)

    own = [{**environment, **process.environment} for process in processes]
    assert [one["MLMESH_SERVING_WORKER"] for one in own] == [str(number) for number in range(1, expected + 1)]
    assert ",".join(one["MLMESH_SERVING_LANE"] for one in own) == environment["MLMESH_SERVING_LANE"], "Envoy knows every lane"
    listens = [one["MLMESH_SERVING_LISTEN"] for one in own]
    assert listens == [environment["MLMESH_SERVING_ADDRESS"], *json.loads(environment["MLMESH_SERVING_WORKER_ADDRESSES"])]


def test_sockets_live_in_the_data_directory_while_its_path_is_short() -> None:
    assert Place.of(Path("/d")).run_dir == Path("/d/run")


def test_sockets_move_to_a_short_folder_of_their_own_when_the_path_is_long() -> None:
    long = [Place.of(Path("/") / ("x" * 90) / name) for name in "ab"]
    assert long[0].run_dir != long[1].run_dir
    assert all(len(str(place.socket("registry")).encode()) <= 100 for place in long)


def test_the_longest_socket_fits_whatever_the_length_of_the_data_directory() -> None:
    for length in range(1, 140):
        place = Place.of(Path("/") / ("x" * length))
        assert len(str(place.socket("envoy-admin")).encode()) <= 100
        assert len(str(place.socket("serving-64-lane")).encode()) <= 100
