"""What a profile of a large table takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from servers.ingestion.tables import Tables

PROFILE = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from servers.ingestion.data_process.profiling import profile
from servers.ingestion.tables import Tables

def peak_kib():
    # What rusage tells begins with the memory of whoever started this process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

workplace = SimpleNamespace(tables=Tables(sys.argv[1]))
profile(workplace, {"project": "default", "dataset": "small"}, None)
before = peak_kib()
found = profile(workplace, {"project": "default", "dataset": "large"}, None)
print(json.dumps({"rows": found["row_count"], "distinct": found["columns"][0]["distinct_count"], "kib": peak_kib() - before}))
"""
ROWS = 2_000_000
_BATCH = 65_536


def write(root: str, name: str, rows: int) -> None:
    random = np.random.default_rng(0)
    schema = pa.schema({"id": pa.int64(), "text": pa.string(), **{f"number_{place}": pa.float64() for place in range(8)}})

    def batches():
        for begin in range(0, rows, _BATCH):
            count = min(_BATCH, rows - begin)
            numbers = {f"number_{place}": random.normal(size=count) for place in range(8)}
            ids = np.arange(begin, begin + count)
            yield pa.record_batch({"id": ids, "text": [f"text {number:032x}" for number in ids], **numbers}, schema=schema)

    Tables(root).table("default", name).write(batches(), schema)


@pytest.mark.skipif(sys.platform != "linux", reason="procfs is Linux's")
def test_a_profile_of_two_million_rows_takes_the_memory_of_a_few_batches(tmp_path: Path) -> None:
    root = tmp_path.as_uri()
    write(root, "small", 200_000)
    write(root, "large", ROWS)

    done = subprocess.run([sys.executable, "-c", PROFILE, root], check=True, capture_output=True, text=True)

    found = json.loads(done.stdout)
    assert found["rows"] == ROWS
    assert found["distinct"] == pytest.approx(ROWS, rel=0.05)
    # The table has 230 MB in memory.
    assert 0 <= found["kib"] / 1024 < 160
