"""The server's side stays small."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("pyarrow", "polars", "deltalake", "numpy", "minio", "fastavro")


def test_the_server_loads_no_library_for_data() -> None:
    program = "import sys, servers.ingestion.data_process; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "servers" in loaded
    assert not set(HEAVY) & set(loaded)


def test_a_process_talks_to_its_server_without_grpc_and_libraries_for_data() -> None:
    program = "import sys, servers.runtime.data_process.conversation; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not {*HEAVY, "grpc"} & set(loaded)
