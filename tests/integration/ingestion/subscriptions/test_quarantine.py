"""Rows that a subscription leaves out are in quarantine with the commit that passes over them; messages that are no rows are told alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from servers.ingestion.data_process import DataProcesses
from tests.integration.ingestion.subscriptions.readers import PATIENCE_S, Reader, quarantined, reading, rows_in, until_rows
from tests.integration.runtime.waiting import eventually
from tests.real_servers.kafka import StrictBroker

ROWS_OUT = {"columns": "DISCARD_ROW", "types": "DISCARD_ROW"}


def send(broker: StrictBroker, *rows: Any) -> None:
    broker.kafka.send("t", [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows])


def ids(folder: Path) -> list[int]:
    return sorted(row["id"] for row in rows_in(folder))


def test_rows_that_do_not_fit_are_kept_whole_and_can_be_replayed(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t")
    send(broker, {"id": 1, "delay": 0.5, "at": {"port": "TXL"}})
    with reading(processes, broker.kafka, contract=ROWS_OUT, payload={"format": "JSON", "has_origin": True}) as reader:
        until_rows(tmp_path, 1)
        # The reader itself finds one of them beside others, and the table finds another one alone.
        send(
            broker, {"id": 2, "delay": "late", "at": {"port": "JFK"}}, {"id": 3, "delay": 7}, {"id": 4, "extra": True}, b"no row", {"id": 5}
        )
        until_rows(tmp_path, 3)
        send(broker, {"id": 6, "delay": "later"})
        eventually(lambda: len(quarantined(processes)) == 3, PATIENCE_S)
        eventually(lambda: reader.positions() == {("t", 0): [7, 7, 7]}, PATIENCE_S)

    found = quarantined(processes, 'subscription = "s"')
    assert {row["data"]["id"]: (row["place"], row["reason"], row["column"], row["value"]) for row in found} == {
        2: ("t/0@1", "VALUE_DOES_NOT_FIT", "delay", "late"),
        4: ("t/0@3", "COLUMN_UNKNOWN", "extra", "true"),
        6: ("t/0@6", "VALUE_DOES_NOT_FIT", "delay", "later"),
    }
    data = {row["data"]["id"]: row["data"] for row in found}[2]
    assert (data["delay"], data["at"], data["kafka_topic"], data["kafka_offset"]) == ("late", {"port": "JFK"}, "t", 1)
    assert reader.count("rows_rejected") == 4
    assert ids(tmp_path) == [1, 3, 5]

    repairs = [{"id": row["id"], "values": {"delay": 1} if row["data"]["id"] != 4 else {"extra": None}} for row in found]
    source = {"kind": "quarantine", "ids": [row["id"] for row in found], "filter": None, "repairs": repairs}
    replay = {"project": "p", "dataset": "d", "ingestion_id": "r", "source": source, "mode": "APPEND", "contract": ROWS_OUT}
    assert processes.run("ingest", replay)["rows_written"] == 3
    assert quarantined(processes) == []
    assert ids(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert sorted(row["kafka_offset"] for row in rows_in(tmp_path)) == [0, 1, 2, 3, 5, 6]


def test_a_killed_reader_leaves_each_row_in_one_place(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t")
    send(broker, {"id": 0})
    for start in range(0, 400, 100):
        send(broker, *({"id": "x" if number % 7 == 0 else number} for number in range(start + 1, start + 101)))
        reader = Reader(processes, broker.kafka, contract=ROWS_OUT, is_started=start > 0, most_rows=13, commit_interval_s=0.01)
        bad = len([number for number in range(1, start + 101) if number % 7 == 0])
        eventually(lambda bad=bad: len(quarantined(processes)) >= bad, PATIENCE_S)
        reader.kill()
    with reading(processes, broker.kafka, contract=ROWS_OUT, is_started=True):
        until_rows(tmp_path, 1 + 400 - 57)
    assert ids(tmp_path) == [number for number in range(401) if number % 7 or not number]
    places = [row["place"] for row in quarantined(processes)]
    assert sorted(places) == sorted(f"t/0@{number}" for number in range(1, 401) if number % 7 == 0)


def test_null_keys_of_an_upsert_are_kept(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t")
    send(broker, {"id": 1, "v": 1}, {"id": None, "v": 2}, {"id": 1, "v": 3})
    with reading(processes, broker.kafka, mode="UPSERT", keys=["id"]):
        until_rows(tmp_path, 1)
        eventually(lambda: bool(quarantined(processes)), PATIENCE_S)
    assert [(row["data"], row["reason"], row["place"]) for row in quarantined(processes)] == [
        ({"id": None, "v": 2}, "KEY_IS_NULL", "t/0@1")
    ]
