from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

FILE_MIB = 64
MOST_MIB = 40

READ = """
import resource, sys
from pathlib import Path
from servers.ingestion.readers.options import ReadLimits, ReadOptions
from servers.ingestion.readers.rows import open_rows

def read(path):
    with open_rows(path, path.name, ReadOptions(), ReadLimits(batch_bytes=2**20)) as rows:
        return sum(batch.num_rows for batch in rows)

small, large = map(Path, sys.argv[1:])
read(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = read(large)
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
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


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is KiB on Linux alone")
@pytest.mark.parametrize("suffix", ["csv", "ndjson", "json", "parquet"])
def test_a_large_file_takes_the_memory_of_a_few_batches(tmp_path, suffix):
    small, large = tmp_path / f"small.{suffix}", tmp_path / f"large.{suffix}"
    write(small, suffix, 1)
    rows = write(large, suffix, FILE_MIB)
    command = [sys.executable, "-c", READ, str(small), str(large)]
    count, kib = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert count == rows
    assert kib / 1024 < MOST_MIB
