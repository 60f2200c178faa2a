"""The server's side stays small."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("pyarrow", "duckdb", "deltalake", "lmdb", "redis", "psycopg")


@pytest.mark.parametrize(
    "module", ["servers.features.jobs.assembly", "servers.features.insight.statistics", "servers.features.data_process.__main__"]
)
def test_no_library_for_data_is_loaded_before_there_is_work(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()

    assert "servers" in loaded
    assert not set(HEAVY) & set(loaded)
