"""Writers in processes of their own: races, and a kill between the data files and the commit."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, WriterProperties, write_deltalake

from servers.ingestion.tables import Delivery, Tables
from tests.integration.ingestion.tables.deliveries import column, rows_of, send

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def root(tmp_path: Path) -> str:
    return tmp_path.as_uri()


def run(count: int, work: Callable[..., None], *arguments: Any) -> None:
    """Runs `work(number, *arguments)` in so many processes to their end."""
    processes = [SPAWN.Process(target=work, args=(number, *arguments)) for number in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count


def race_deliveries(number: int, root: str, barrier: Barrier, outcomes: Any) -> None:
    table = Tables(root).table("p", "d")
    for sequence in range(60):
        barrier.wait(300)
        outcomes.put(send(table, {"a": [sequence], "by": [number]}, delivery=Delivery("p", sequence)).was_delivered_before)


def test_sixty_deliveries_raced_by_three_processes_are_sixty(root: str) -> None:
    outcomes = SPAWN.Queue()
    run(3, race_deliveries, root, SPAWN.Barrier(3), outcomes)
    assert column(Tables(root).table("p", "d"), "a") == sorted(range(60), key=repr)
    assert sorted(outcomes.get(timeout=60) for _ in range(180)) == [False] * 60 + [True] * 120


def test_sixty_deliveries_raced_by_three_threads_are_sixty(root: str) -> None:
    table = Tables(root).table("p", "d")
    with ThreadPoolExecutor(3) as pool:
        for sequence in range(60):
            written = list(pool.map(lambda _, now=sequence: send(table, {"a": [now]}, delivery=Delivery("p", now)), range(3)))
            assert sorted(each.was_delivered_before for each in written) == [False, True, True]
    assert column(table, "a") == sorted(range(60), key=repr)


def append_forty(number: int, root: str) -> None:
    table = Tables(root).table("p", "d")
    for sequence in range(40):
        send(table, {"a": [number * 40 + sequence]}, delivery=Delivery(f"producer-{number}", sequence))


def test_ten_writers_with_forty_commits_each_land_all_of_them(root: str) -> None:
    run(10, append_forty, root)
    assert column(Tables(root).table("p", "d"), "a") == sorted(range(400), key=repr)


def write_slowly(_number: int, root: str) -> None:
    """Writes as `DatasetTable.write` does, and stops after the first data files are there."""
    table = DeltaTable(Path(root.removeprefix("file://")) / "p" / "d")
    schema = pa.schema([("a", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(200):
            yield pa.record_batch([pa.array(range(start * 10_000, (start + 1) * 10_000))], schema=schema)
        (Path(root.removeprefix("file://")) / "ready").touch()
        signal.pause()

    rows = pa.RecordBatchReader.from_batches(schema, batches())
    write_deltalake(table, rows, mode="append", target_file_size=100_000, writer_properties=WriterProperties(max_row_group_size=10_000))


def files_of(root: Path) -> int:
    return len(list((root / "p" / "d").glob("*.parquet")))


def test_a_writer_killed_between_files_and_commit_leaves_no_rows(root: str, tmp_path: Path) -> None:
    table = Tables(root, shortest_retention=timedelta(0)).table("p", "d")
    send(table, {"a": [-1]})
    process = SPAWN.Process(target=write_slowly, args=(0, root))
    process.start()
    assert process.pid is not None
    # Who writes the files may be some batches behind.
    while not ((tmp_path / "ready").exists() and files_of(tmp_path) > 1):
        assert process.is_alive()
        process.join(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    left = files_of(tmp_path)
    assert rows_of(table) == [{"a": -1}]
    assert table.vacuum(timedelta(0)) == left - 1
    assert send(table, {"a": [1]}).rows_written == 1
    assert column(table, "a") == [-1, 1]


def kill_in_loop(_number: int, root: str) -> None:
    table = Tables(root).table("p", "d")
    for sequence in range(10_000):
        rows = pa.table({"a": [sequence] * 20_000})
        table.write(iter(rows.to_batches(max_chunksize=1000)), rows.schema, delivery=Delivery("p", sequence))


def test_a_writer_killed_at_any_moment_has_written_whole_deliveries(root: str, tmp_path: Path) -> None:
    table, sequence = Tables(root).table("p", "d"), 0
    for wait_s in (0.01, 0.033, 0.056):
        process = SPAWN.Process(target=kill_in_loop, args=(0, root))
        process.start()
        assert process.pid is not None
        while not (table.exists() and table.snapshot().version > sequence):
            assert process.is_alive()
            process.join(0.02)
        process.join(wait_s)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        counts = pa.Table.from_batches(table.batches()).group_by("a").aggregate([("a", "count")]).sort_by("a")
        assert counts["a_count"].to_pylist() == [20_000] * counts.num_rows
        assert counts["a"].to_pylist() == list(range(counts.num_rows))
        sequence = table.snapshot().version


def write_and_measure(_number: int, root: str, batch_count: int, outcomes: Any) -> None:
    import resource

    import numpy as np

    rng = np.random.default_rng(0)
    schema = pa.schema([(f"c{i}", pa.float64()) for i in range(10)])

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(batch_count):
            yield pa.record_batch([pa.array(rng.random(65_536)) for _ in range(10)], schema=schema)

    Tables(root).table("p", f"d{batch_count}").write(batches(), schema)
    outcomes.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)


def test_memory_does_not_grow_with_the_delivery(root: str) -> None:
    outcomes = SPAWN.Queue()
    peaks_mib = []
    for batch_count in (30, 90):
        run(1, write_and_measure, root, batch_count, outcomes)
        peaks_mib.append(outcomes.get(timeout=60))
    # 150 and 450 MiB of rows.
    assert peaks_mib[1] < peaks_mib[0] + 100, peaks_mib
