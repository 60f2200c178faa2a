from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

READ = """
import sys
from pathlib import Path
from servers.ingestion.readers.options import ReadLimits, ReadOptions
from servers.ingestion.readers.rows import open_rows

def peak_kib():
    # What rusage tells begins with the memory of whoever started this process.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def read(path):
    with open_rows(path, path.name, ReadOptions(), ReadLimits(batch_bytes=2**20)) as rows:
        return sum(batch.num_rows for batch in rows)

small, large = map(Path, sys.argv[1:])
read(small)
before = peak_kib()
count = read(large)
print(count, peak_kib() - before)
"""


def write(path: Path, suffix: str, mib: int) -> int:
    random = np.random.default_rng(0)
    if suffix == "parquet":
        # One row group, which is the hardest to stream.
        parquet.write_table(pa.table({"a": random.random(mib * 2**17)}), path, row_group_size=mib * 2**17, use_dictionary=False)
        return mib * 2**17
    numbers = [{"id": int(number), "value": number / 7, "name": f"flight {number}"} for number in random.integers(0, 10**6, 10_000)]
    rows = [",".join(map(str, row.values())) if suffix == "csv" else json.dumps(row) for row in numbers]
    separator = ",\n" if suffix == "json" else "\n"
    block = separator.join(rows)
    blocks = mib * 2**20 // len(block) + 1
    with path.open("w") as file:
        file.write({"csv": "id,value,name\n", "json": "["}.get(suffix, ""))
        for index in range(blocks):
            file.write((separator if index else "") + block)
        file.write("]" if suffix == "json" else "")
    return blocks * len(rows)


@pytest.mark.skipif(sys.platform != "linux", reason="procfs is Linux's")
@pytest.mark.parametrize(
    ("suffix", "file_mib", "most_mib"), [("csv", 192, 100), ("ndjson", 80, 50), ("json", 48, 40), ("parquet", 192, 100)]
)
def test_a_large_file_takes_the_memory_of_a_few_batches(tmp_path, suffix, file_mib, most_mib):
    small, large = tmp_path / f"small.{suffix}", tmp_path / f"large.{suffix}"
    write(small, suffix, 1)
    rows = write(large, suffix, file_mib)
    command = [sys.executable, "-c", READ, str(small), str(large)]
    count, kib = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert count == rows
    assert 0 < kib / 1024 < most_mib
