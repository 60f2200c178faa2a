"""Rows of several producers in one commit, each producer's once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from servers.ingestion.table_errors import DeliveryOutOfTurn
from servers.ingestion.tables import DatasetTable, Delivery, Tables, WriteMode
from tests.integration.ingestion.tables.deliveries import column, send


def test_each_delivery_is_known_afterwards_and_is_taken_once(table: DatasetTable) -> None:
    deliveries = [Delivery("p/0", 10, after=0), Delivery("p/1", 7, after=0)]
    assert send(table, {"a": [1, 2]}, deliveries=deliveries).rows_written == 2
    last = table.last_sequences()
    assert (last("p/0"), last("p/1"), last("p/2")) == (10, 7, None)
    with pytest.raises(DeliveryOutOfTurn):
        send(table, {"a": [1, 2]}, deliveries=deliveries)
    # One of them is enough.
    with pytest.raises(DeliveryOutOfTurn):
        send(table, {"a": [3]}, deliveries=[Delivery("p/0", 12, after=10), Delivery("p/1", 9, after=6)])
    send(table, {"a": [3]}, deliveries=[Delivery("p/0", 12, after=10), Delivery("p/2", 1, after=0)])
    assert column(table, "a") == [1, 2, 3]
    assert table.last_sequences()("p/0") == 12


def test_a_delivery_of_rows_that_are_all_rejected_is_known_too(table: DatasetTable) -> None:
    send(table, {"a": [1]})
    send(table, {"a": [None]}, mode=WriteMode.UPSERT, keys=["a"], deliveries=[Delivery("p/0", 5, after=0)])
    assert table.last_sequences()("p/0") == 5
    assert column(table, "a") == [1]


def test_writers_that_race_for_some_of_the_same_producers_write_each_step_once(tmp_path: Path) -> None:
    table = Tables(tmp_path.as_uri()).table("p", "d")

    def step(number: int) -> int:
        written = 0
        for _ in range(30):
            last = table.last_sequences()
            places = [f"p/{number}", "p/both", f"p/{number + 2}"]
            steps = {place: last(place) or 0 for place in places}
            try:
                send(
                    table,
                    {"place": list(steps), "step": list(steps.values())},
                    deliveries=[Delivery(place, at + 1, after=at) for place, at in steps.items()],
                )
            except DeliveryOutOfTurn:
                continue
            written += 1
        return written

    with ThreadPoolExecutor(3) as pool:
        written = list(pool.map(step, range(3)))
    assert sum(written) < 90
    last = table.last_sequences()
    assert last("p/both") == sum(written)
    rows = [(row["place"], row["step"]) for batch in table.batches() for row in batch.to_pylist()]
    assert len(rows) == len(set(rows)) == 3 * sum(written)
