"""Whatever does not fit: every row is in the dataset or in quarantine, and after all repairs the dataset is the repaired source."""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.ingestion.tables import Tables
from tests.integration.ingestion.quarantine.bench import Bench

SCHEMA = pa.schema([("key", pa.int64()), ("number", pa.int32()), ("text", pa.string()), ("day", pa.date32())])
FITS = {"number": ("5", "-7", None), "text": ("x", "", None), "day": ("2020-02-29", None)}
DOES_NOT = {"number": ("five", "2147483648", "1.5"), "day": ("2020-02-30", "")}

CELLS = st.fixed_dictionaries({name: st.sampled_from((*FITS[name], *DOES_NOT.get(name, ()))) for name in FITS})
EXTRA = st.sampled_from((None, None, None, "boo"))
SOURCES = st.lists(st.lists(st.tuples(CELLS, EXTRA), max_size=12), min_size=1, max_size=3)


def source_of(rows: list[tuple[dict[str, Any], str | None]], first_key: int) -> pa.Table:
    cells = [{"key": str(first_key + place), **row, "extra": extra} for place, (row, extra) in enumerate(rows)]
    return pa.Table.from_pylist(cells, pa.schema([(name, pa.string()) for name in (*SCHEMA.names, "extra")]))


def as_written(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(None if row[name] is None else str(row[name]) for name in SCHEMA.names)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(SOURCES, st.data())
def test_nothing_is_lost_and_nothing_is_doubled(sources: list[list[tuple[dict[str, Any], str | None]]], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench.of(
            Tables((Path(folder) / "tables").as_uri(), spool_folder=Path(folder), shortest_retention=timedelta(0)), Path(folder)
        )
        bench.ingest(SCHEMA.empty_table(), contract={})
        repaired: dict[str, tuple[Any, ...]] = {}
        for number, rows in enumerate(sources):
            table = source_of(rows, number * 100)
            outcome = bench.ingest(table)
            assert outcome["rows_written"] + outcome["rows_quarantined"] == table.num_rows
            for row in table.to_pylist():
                fixed = {name: "9" if row[name] in DOES_NOT["number"] and name == "number" else row[name] for name in row}
                fixed["day"] = "2021-01-01" if row["day"] in DOES_NOT["day"] else row["day"]
                repaired[row["key"]] = as_written(fixed)

        def check() -> None:
            written = Counter(map(as_written, bench.dataset_rows().to_pylist()))
            waiting = bench.rows()
            assert written.total() == len(set(written)), "nothing is doubled"
            assert {row[0] for row in written} | {row["data"]["key"] for row in waiting} == repaired.keys()
            assert written.total() + len(waiting) == len(repaired)

        check()
        while waiting := bench.rows():
            chosen = data.draw(st.lists(st.sampled_from(waiting), min_size=1, max_size=8, unique_by=lambda row: row["id"]))
            repairs = {row["id"]: repair_of(row, data.draw(st.booleans())) for row in chosen}
            if data.draw(st.booleans()):
                bench.replay(repairs=repairs)
            else:
                # All that there are, among them some that are not repaired.
                source = {"kind": "quarantine", "ids": list(repairs), "filter": ""}
                bench.replay(source={**source, "repairs": [{"id": each, "values": values} for each, values in repairs.items()]})
            check()
            if data.draw(st.booleans()):
                bench.do("vacuum", retention_s=0)
        assert sorted(map(as_written, bench.dataset_rows().to_pylist())) == sorted(repaired.values())


def repair_of(row: dict[str, Any], is_whole: bool) -> dict[str, Any]:
    """All that a row needs, or only what it was left out for."""
    needed: dict[str, Any] = {}
    if row["data"].get("extra") is not None:
        needed["extra"] = None
    if row["data"]["number"] in DOES_NOT["number"]:
        needed["number"] = 9
    if row["data"]["day"] in DOES_NOT["day"]:
        needed["day"] = "2021-01-01"
    return needed if is_whole else {row["column"]: needed[row["column"]]}
