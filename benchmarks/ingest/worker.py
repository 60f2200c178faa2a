"""Ingests one file as one side does, and says what it took. A script, because dlt's venv has nothing of ours.

python worker.py SIDE FILE FOLDER
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path


def polars_and_deltalake(file: Path, folder: Path) -> Callable[[], object]:
    """As their documentation shows it. Dates are parsed, as ours are; types of a CSV come from its first 100 rows."""
    import polars
    from deltalake import write_deltalake

    if file.suffix == ".csv":
        return lambda: polars.read_csv(file, try_parse_dates=True).write_delta(str(folder / "flights"))
    return lambda: write_deltalake(str(folder / "flights"), polars.read_parquet(file).to_arrow())


def mlmesh(file: Path, folder: Path) -> Callable[[], object]:
    """As an ingestion does it: types from all rows, every value kept."""
    import pyarrow.parquet  # noqa: F401

    from servers.ingestion.readers import csv_rows  # noqa: F401
    from servers.ingestion.readers.options import ReadLimits, ReadOptions
    from servers.ingestion.readers.rows import open_rows
    from servers.ingestion.tables import Tables

    def ingest() -> None:
        with open_rows(file, file.name, ReadOptions(), ReadLimits()) as rows:
            Tables(folder.as_uri()).table("bench", "flights").write(iter(rows), rows.schema)

    return ingest


def dlt(file: Path, folder: Path) -> Callable[[], object]:
    """By Arrow's batches, the quickest way into dlt: its own `read_parquet` makes a dict of each row, and takes 25 times as long."""
    import dlt as library  # type: ignore[import-not-found]
    import pyarrow.csv
    import pyarrow.parquet

    @library.resource(name="flights")
    def flights():  # type: ignore[no-untyped-def]
        yield from pyarrow.csv.open_csv(file) if file.suffix == ".csv" else pyarrow.parquet.ParquetFile(file).iter_batches()

    destination = library.destinations.filesystem(folder.as_uri())
    pipeline = library.pipeline("bench", pipelines_dir=str(folder / "work"), destination=destination, dataset_name="bench")
    return lambda: pipeline.run(flights(), table_format="delta", loader_file_format="parquet")


SIDES = {"Polars + deltalake": polars_and_deltalake, "mlmesh": mlmesh, "dlt": dlt}


def main() -> None:
    """Ingests, and prints a line of JSON."""
    side, file, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    ingest = SIDES[side](file, folder)
    memory, started, processor = _peak_mib(), time.perf_counter(), _processor_s()
    ingest()
    seconds, processor_s, peak_mib = time.perf_counter() - started, _processor_s() - processor, _peak_mib() - memory
    print(json.dumps({"seconds": seconds, "processor_s": processor_s, "peak_mib": peak_mib, "rows": _rows(folder)}))


def _rows(folder: Path) -> int:
    from deltalake import DeltaTable

    (log,) = folder.rglob("flights/_delta_log")
    return DeltaTable(str(log.parent)).count()


def _peak_mib() -> float:
    # Not `ru_maxrss`: that begins with what the process had before `exec`, which is the memory of the one that started this one.
    status = Path("/proc/self/status")
    peak = (
        next((line.split()[1] for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM")), None)
        if status.exists()
        else None
    )
    return int(peak) / 1024 if peak else float("nan")


def _processor_s() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


if __name__ == "__main__":
    main()
