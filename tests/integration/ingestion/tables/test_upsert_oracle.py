"""An upsert, whatever is in the table and in the delivery, does what a dict does."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.ingestion.tables import RejectedRow, Tables, WriteMode
from tests.integration.ingestion.tables.deliveries import rows_of, send

TYPES = {"id": pa.int64(), "day": pa.date32(), "name": pa.string(), "n": pa.int64(), "extra": pa.bool_()}
KEYS = {
    "id": st.none() | st.integers(0, 3),
    "day": st.integers(0, 1).map(lambda days: date(2026, 1, 1) + timedelta(days=days)),
    "name": st.none() | st.sampled_from(["", "a", "A", "ä", "a'b", '"']),
}
row = st.fixed_dictionaries({**KEYS, "n": st.none() | st.integers(-(2**63), 2**63 - 1)}, optional={"extra": st.booleans()})


@settings(max_examples=60)
@given(st.lists(st.lists(row, max_size=12), min_size=1, max_size=4), st.lists(st.sampled_from(list(KEYS)), min_size=1, unique=True))
def test_upserts_are_assignments(deliveries: list[list[dict[str, Any]]], keys: list[str]) -> None:
    expected: dict[tuple[Any, ...], dict[str, Any]] = {}
    columns: set[str] = set()
    with TemporaryDirectory() as folder:
        table = Tables(Path(folder).as_uri()).table("p", "d")
        for rows in deliveries:
            names = [name for name in TYPES if name != "extra" or any("extra" in each for each in rows)]
            columns |= set(names)
            delivered = pa.table({name: pa.array([each.get(name) for each in rows], TYPES[name]) for name in names})
            rejected: list[RejectedRow] = []
            written = send(table, delivered, mode=WriteMode.UPSERT, keys=keys, on_rejected=rejected.append)
            fresh = {tuple(each[key] for key in keys): each for each in rows if all(each[key] is not None for key in keys)}
            assert [each.row for each in rejected] == [i for i, each in enumerate(rows) if any(each[key] is None for key in keys)]
            assert (written.rows_written, written.rows_updated) == (len(fresh), len(fresh.keys() & expected.keys()))
            assert written.rows_rejected == len(rejected)
            expected |= fresh
        wanted = [{name: each.get(name) for name in TYPES if name in columns} for each in expected.values()]
        assert rows_of(table) == sorted(wanted, key=repr)
