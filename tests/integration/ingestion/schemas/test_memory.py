"""Columns of large tables are changed in the memory of a few batches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MOST_MIB = 150
CHANGE = """
import sys
from pathlib import Path
import numpy as np
import pyarrow as pa
from servers.ingestion.column_changes import ColumnChanges
from servers.ingestion.tables import Tables

def peak_kib():
    # What rusage tells begins with the memory of whoever started this process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def changed(name, batch_count):
    random = np.random.default_rng(0)
    schema = pa.schema([(f"c{i}", pa.float64()) for i in range(10)])
    batches = (pa.record_batch([pa.array(random.random(50_000)) for _ in schema], schema=schema) for _ in range(batch_count))
    table = Tables(Path(sys.argv[1]).as_uri()).table("p", name)
    table.write(batches, schema)
    before = peak_kib()
    table.change_columns(ColumnChanges({"c0": "c1", "c1": "c0"}, ["c9"]))
    snapshot = table.snapshot()
    return before, snapshot.row_count, snapshot.schema.names[:2]

changed("small", 4)
before, row_count, names = changed("large", 40)
print(row_count, "".join(names), peak_kib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="procfs is Linux's")
def test_two_million_rows_take_no_more_memory_than_writing_them_took(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CHANGE, str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    row_count, names, grown_kib = done.stdout.split()
    # 160 MB of rows.
    assert (int(row_count), names) == (2_000_000, "c1c0")
    assert int(grown_kib) < MOST_MIB * 1024
