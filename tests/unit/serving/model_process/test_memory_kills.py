from __future__ import annotations

from pathlib import Path

import pytest

from servers.serving.model_process.memory_kills import MemoryKills

PID = 42


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def kills_of(tmp_path):
    def make(membership: str) -> MemoryKills:
        write(tmp_path / "proc" / str(PID) / "cgroup", membership)
        write(tmp_path / "proc" / "vmstat", "pgfault 9\noom_kill 7\n")
        return MemoryKills(PID, proc=tmp_path / "proc", cgroups=tmp_path / "cgroup")

    return make


@pytest.mark.parametrize(
    ("membership", "file"),
    [
        ("0::/system.slice/mlmesh\n", "system.slice/mlmesh/memory.events"),
        ("0::/\n", "memory.events"),
        ("0::/elsewhere\n", "memory.events"),
        ("4:cpu,cpuacct:/\n3:memory:/docker/abc\n0::/\n", "memory/docker/abc/memory.oom_control"),
        ("3:memory:/docker/abc\n", "memory/memory.oom_control"),
    ],
)
def test_kills_are_counted_where_the_process_is(kills_of, tmp_path, membership, file):
    counted = write(tmp_path / "cgroup" / file, "oom 3\noom_kill 2\n")
    kills = kills_of(membership)
    before = kills.has_grown()

    write(tmp_path / "proc" / "vmstat", "oom_kill 8\n")
    elsewhere = kills.has_grown()
    write(counted, "oom 4\noom_kill 3\n")

    assert (before, elsewhere, kills.has_grown()) == (False, False, True)


def test_without_control_groups_those_of_the_machine_are_counted(kills_of, tmp_path):
    kills = kills_of("0::/\n")

    write(tmp_path / "proc" / "vmstat", "oom_kill 8\n")

    assert kills.has_grown()


def test_without_any_count_nothing_is_claimed(tmp_path):
    kills = MemoryKills(PID, proc=tmp_path, cgroups=tmp_path)

    assert not kills.has_grown()
