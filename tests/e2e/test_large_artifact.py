"""An artifact of 2 GiB through the whole mesh and back, in constant memory."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.whole_mesh import WholeMesh, whole_mesh

MIB = 1 << 20
SIZE_BYTES = 2048 * MIB
MOST_GROWTH_MIB = 150
# The file itself has holes; stored and fetched it has none.
NEEDED_BYTES = 2 * SIZE_BYTES + 1024 * MIB


@pytest.fixture
def mesh() -> Iterator[WholeMesh]:
    """A mesh of its own: idle memory means something, and the artifact goes away with it."""
    free_bytes = shutil.disk_usage(tempfile.gettempdir()).free
    if free_bytes < NEEDED_BYTES:
        where = tempfile.gettempdir()
        pytest.fail(f"{where} has {free_bytes // MIB:,} MiB free and the test needs {NEEDED_BYTES // MIB:,}; set TMPDIR to a larger disk")
    with whole_mesh() as running:
        yield running


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path, which pytest keeps for three sessions.
    with tempfile.TemporaryDirectory(prefix="large-") as path:
        yield Path(path)


def make_large_file(path: Path) -> str:
    """Makes a file of zeros with a random MiB at every 64th, so that no part can stand for another; returns its digest."""
    dice = random.Random(2013)
    with path.open("wb") as file:
        for offset in range(0, SIZE_BYTES, 64 * MIB):
            file.seek(offset)
            file.write(dice.randbytes(MIB))
        file.truncate(SIZE_BYTES)
    return digest_of(path)


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def memory_mib(pid: int, entry: str) -> float:
    """Returns an entry of /proc/<pid>/status: `VmRSS` = resident now, `VmHWM` = the most there has been."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{entry}:")).split()[1]) / 1024


@contextmanager
def constant_memory(what: str, processes: Mapping[str, int]) -> Iterator[None]:
    """Fails where a process needs much more memory at its peak in the block than it had before."""
    idle = {}
    for name, pid in processes.items():
        # Where it is not allowed the peak is that of the process's whole life, which can only be more.
        with suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        idle[name] = memory_mib(pid, "VmRSS")
    yield
    growth = {name: memory_mib(pid, "VmHWM") - idle[name] for name, pid in processes.items()}
    print(f"{what}: {', '.join(f'{name} {idle[name]:.0f} + {grown:.0f} MiB' for name, grown in growth.items())}")
    assert {name: grown for name, grown in growth.items() if grown > MOST_GROWTH_MIB} == {}, what


def test_an_artifact_of_2_gib_goes_in_and_out_in_constant_memory(mesh: WholeMesh, folder: Path) -> None:
    source = folder / "weights.bin"
    digest = make_large_file(source)
    pids = {"registry": mesh.pid("control"), "envoy": mesh.pid("envoy"), "client": os.getpid()}
    processes = {name: pid for name, pid in pids.items() if pid is not None}
    assert processes.keys() == pids.keys()

    with mesh.client() as client:
        # What is loaded at the first use of anything is not what is measured.
        (folder / "small.bin").write_bytes(b"small")
        client.registry.push_version("small", folder / "small.bin")
        client.registry.pull_version("small", folder / "small")

        with constant_memory("in", processes):
            version = client.registry.push_version("large", source)
        source.unlink()
        with constant_memory("out", processes):
            client.registry.pull_version("large", folder / "fetched")

    assert [(file.digest, file.size_bytes) for file in version.files] == [(digest, SIZE_BYTES)]
    assert digest_of(folder / "fetched" / "weights.bin") == digest
