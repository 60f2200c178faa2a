"""Topics become rows, each message once, without a server: where reading begins, what stops it, and who reads beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from demo.real_servers.kafka import TansuBroker
from servers.ingestion.data_process import DataProcesses
from servers.ingestion.tables import Tables
from tests.integration.ingestion.subscriptions.readers import DATASET, PATIENCE_S, PROJECT, Reader, reading, rows_in, until_rows
from tests.integration.runtime.waiting import eventually
from tests.real_servers.kafka import StrictBroker

TOPIC_AUTHORIZATION_FAILED = 29


def numbered(first: int, end: int) -> list[bytes]:
    return [json.dumps({"id": number}).encode() for number in range(first, end)]


def ids(folder: Path) -> list[int]:
    return sorted(row["id"] for row in rows_in(folder))


def test_messages_of_all_partitions_are_rows_once(processes: DataProcesses, tansu_broker: TansuBroker, tmp_path: Path) -> None:
    kafka = tansu_broker.kafka
    kafka.create_topic("all", 3)
    kafka.send("all", numbered(0, 3000), partitions=3)
    with reading(processes, kafka, topics=["all"], group="all") as reader:
        until_rows(tmp_path, 3000)
        kafka.send("all", numbered(3000, 3300), partitions=3)
        until_rows(tmp_path, 3300)
        # It tells of what it wrote a moment later, and of no partition that it happens to have lost when it is stopped.
        eventually(lambda: reader.positions() == {("all", number): [1100, 1100, 1100] for number in range(3)}, PATIENCE_S)
    assert ids(tmp_path) == list(range(3300))
    assert reader.count("rows_written") == 3300
    # The group knows it, too.
    with reading(processes, kafka, topics=["all"], group="all", dataset="other", is_started=True) as other:
        eventually(other.has_partitions, PATIENCE_S)
    assert other.count("rows_written") == 0


def test_a_killed_reader_goes_on_where_the_dataset_ends(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t", 2)
    for start in range(0, 500, 100):
        broker.kafka.send("t", numbered(start, start + 100), partitions=2)
        reader = Reader(processes, broker.kafka, is_started=start > 0)
        until_rows(tmp_path, start + 100)
        # Neither what it told nor what the group knows has to be of now.
        reader.kill()
    assert ids(tmp_path) == list(range(500))


def test_two_readers_of_a_group_share_the_partitions_and_write_each_message_once(
    processes: DataProcesses, tansu_broker: TansuBroker, tmp_path: Path
) -> None:
    kafka = tansu_broker.kafka
    kafka.create_topic("shared", 4)
    kafka.send("shared", numbered(0, 2000), partitions=4)
    with reading(processes, kafka, topics=["shared"], group="shared", commit_interval_s=0.02, most_rows=50) as first:
        eventually(first.has_partitions, PATIENCE_S)
        with reading(processes, kafka, topics=["shared"], group="shared", commit_interval_s=0.02, most_rows=50) as second:
            kafka.send("shared", numbered(2000, 4000), partitions=4)
            # Who stood still for a moment loses all of its partitions to the other one, and gets its share again.
            eventually(lambda: 2 in first.partition_counts() | second.partition_counts(), PATIENCE_S)
            kafka.send("shared", numbered(4000, 6000), partitions=4)
            until_rows(tmp_path, 6000)
        kafka.send("shared", numbered(6000, 7000), partitions=4)
        until_rows(tmp_path, 7000)
    assert ids(tmp_path) == list(range(7000))


def test_readers_of_different_groups_write_each_message_once(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    # They have the same partitions all the time, as a reader has that was thought dead.
    broker.create_topic("t", 2)
    with (
        reading(processes, broker.kafka, group="a", commit_interval_s=0.01, most_rows=20),
        reading(processes, broker.kafka, group="b", commit_interval_s=0.01, most_rows=30),
    ):
        for start in range(0, 2000, 200):
            broker.kafka.send("t", numbered(start, start + 200), partitions=2)
        until_rows(tmp_path, 2000)
    assert ids(tmp_path) == list(range(2000))


def test_a_reader_that_was_stopped_meanwhile_repeats_nothing(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", numbered(0, 100))
    # What it gathers waits for long, so another one is faster. Were it thought dead, it would begin anew, and have something to write.
    # The next one of its group waits about as long.
    patient = {**broker.kafka.properties, "session.timeout.ms": "5000"}
    with reading(processes, broker.kafka, group="slow", commit_interval_s=60, properties=patient) as slow:
        eventually(slow.has_partitions, PATIENCE_S)
        with reading(processes, broker.kafka, group="quick"):
            until_rows(tmp_path, 100)
        broker.kafka.send("t", numbered(100, 150))
    assert ids(tmp_path) == list(range(100))
    with reading(processes, broker.kafka, group="slow", is_started=True, properties=patient):
        until_rows(tmp_path, 150)
    assert ids(tmp_path) == list(range(150))


def test_a_subscription_that_begins_with_the_latest_has_what_comes_then_also_in_new_partitions(
    processes: DataProcesses, broker: StrictBroker, tmp_path: Path
) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", numbered(0, 10))
    with reading(processes, broker.kafka, topics=["t", "later"], start="LATEST") as reader:
        eventually(reader.has_partitions, PATIENCE_S)
        broker.kafka.send("t", numbered(10, 20))
        until_rows(tmp_path, 10)
        eventually(lambda: any((told.get("error") or {}).get("reason") == "KAFKA_TOPIC_NOT_FOUND" for told in reader.told), PATIENCE_S)
        # A topic that is made later is nothing but partitions that are added later.
        broker.create_topic("later", 2)
        broker.kafka.send("later", numbered(20, 40), partitions=2)
        until_rows(tmp_path, 30)
        eventually(lambda: reader.told[-1].get("error", reader.told[-1]) is None or not reader.told[-1].get("error"), PATIENCE_S)
    assert ids(tmp_path) == list(range(10, 40))


def test_the_latest_stays_where_it_was_when_nothing_came_meanwhile(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", numbered(0, 10))
    with reading(processes, broker.kafka, start="LATEST") as reader:
        eventually(reader.has_partitions, PATIENCE_S)
    broker.kafka.send("t", numbered(10, 20))
    # Also where the group is forgotten: Kafka does that after a week.
    with reading(processes, broker.kafka, start="LATEST", group="new", is_started=True, known=reader.known()):
        until_rows(tmp_path, 10)
    assert ids(tmp_path) == list(range(10, 20))


def test_an_empty_topic_is_read_with_its_first_message(processes: DataProcesses, tansu_broker: TansuBroker, tmp_path: Path) -> None:
    tansu_broker.kafka.create_topic("empty", 2)
    with reading(processes, tansu_broker.kafka, topics=["empty"], group="empty") as reader:
        eventually(reader.has_partitions, PATIENCE_S)
        assert rows_in(tmp_path) == []
        tansu_broker.kafka.send("empty", numbered(0, 1), partition=1)
        until_rows(tmp_path, 1)
    assert ids(tmp_path) == [0]


def test_messages_without_rows_are_counted_once(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", [*numbered(0, 2), None, b"{", b"[]", b"\xff", *numbered(2, 3), b"7"])
    with reading(processes, broker.kafka) as first:
        eventually(lambda: first.count("rows_rejected") == 5, PATIENCE_S)
    told = [(row["row"], row["column"], row["reason"]) for row in first.rejected()]
    assert told == [
        (2, "t/0@2", "TOMBSTONE"),
        *((offset, f"t/0@{offset}", "MESSAGE_UNREADABLE") for offset in (3, 4, 5)),
        (7, "t/0@7", "MESSAGE_UNREADABLE"),
    ]
    with reading(processes, broker.kafka, known=first.known(), is_started=True) as second:
        broker.kafka.send("t", [*numbered(3, 4), b"nothing"])
        eventually(lambda: second.count("rows_rejected") == 1, PATIENCE_S)
    assert ids(tmp_path) == list(range(4))
    # After the last row there was one; that it was dealt with only the report says.
    assert [row["row"] for row in second.rejected()] == [9]
    with reading(processes, broker.kafka, known=second.known(), is_started=True) as third:
        broker.kafka.send("t", [b"again"])
        eventually(lambda: third.count("rows_rejected") == 1, PATIENCE_S)
    assert [row["row"] for row in third.rejected()] == [10]


def test_the_first_unreadable_message_stops_a_subscription_that_freezes_and_everything_before_is_there(
    processes: DataProcesses, broker: StrictBroker, tmp_path: Path
) -> None:
    broker.create_topic("t", 2)
    broker.kafka.send("t", [*numbered(0, 5), b"{", *numbered(5, 7)], partition=0)
    broker.kafka.send("t", [*numbered(10, 13), None], partition=1)
    for _ in range(2):
        reader = Reader(processes, broker.kafka, unreadable="FREEZE")
        error = reader.wait_for_end()
        assert error.reason == "MESSAGE_UNREADABLE"
        assert "t/0@5" in error.message
        assert error.metadata == {"topic": "t", "partition": "0", "offset": "5"}
        until_rows(tmp_path, 5)
    eventually(lambda: len(rows_in(tmp_path)) >= 5, PATIENCE_S)
    with reading(processes, broker.kafka, is_started=True):
        until_rows(tmp_path, 10)
    assert ids(tmp_path) == [0, 1, 2, 3, 4, 5, 6, 10, 11, 12]


def test_a_value_that_fits_no_column_stops_the_subscription_with_its_message(
    processes: DataProcesses, broker: StrictBroker, tmp_path: Path
) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", [b'{"id": 1}', b'{"id": "many"}', b'{"id": 3}'])
    error = Reader(processes, broker.kafka).wait_for_end()
    assert error.reason == "VALUE_DOES_NOT_FIT"
    assert "t/0@1" in error.message
    with reading(processes, broker.kafka, contract={"types": "DISCARD_ROW"}) as reader:
        until_rows(tmp_path, 2)
        eventually(lambda: reader.count("rows_rejected") == 1, PATIENCE_S)
    assert ids(tmp_path) == [1, 3]
    assert [(row["row"], row["column"], row["value"]) for row in reader.rejected()] == [(1, "t/0@1 id", "many")]


def test_a_value_that_comes_alone_is_judged_as_beside_others(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t")
    with reading(processes, broker.kafka, contract={"types": "DISCARD_ROW"}, commit_interval_s=0.01) as reader:
        for value in (b'{"id": 1}', b'{"id": "many"}', b'{"id": "2"}'):
            broker.kafka.send("t", [value])
        until_rows(tmp_path, 2)
        eventually(lambda: reader.count("rows_rejected") == 1, PATIENCE_S)
    assert ids(tmp_path) == [1, 2]
    assert [(row["row"], row["column"], row["value"]) for row in reader.rejected()] == [(1, "t/0@1 id", "many")]


def test_objects_within_messages_get_fields_as_they_come(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t")
    values = [{"a": {"x": 1}}, {"a": {"y": "b"}}, {"a": {}}, {"a": None}, {"b": [{"c": 1}]}, {"b": [{"d": True}, {}]}]
    with reading(processes, broker.kafka, commit_interval_s=0.01):
        for count, value in enumerate(values, start=1):
            broker.kafka.send("t", [json.dumps(value).encode()])
            until_rows(tmp_path, count)
    rows = [(row["a"], row["b"]) for row in rows_in(tmp_path)]
    assert sorted(rows, key=repr) == sorted(
        [
            ({"x": 1, "y": None}, None),
            ({"x": None, "y": "b"}, None),
            ({"x": None, "y": None}, None),
            (None, None),
            (None, [{"c": 1, "d": None}]),
            (None, [{"c": None, "d": True}, {"c": None, "d": None}]),
        ],
        key=repr,
    )


def test_messages_that_retention_took_stop_the_subscription_until_somebody_goes_on(
    processes: DataProcesses, broker: StrictBroker, tmp_path: Path
) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", numbered(0, 10))
    with reading(processes, broker.kafka):
        until_rows(tmp_path, 10)
    for start in range(10, 50, 10):
        broker.kafka.send("t", numbered(start, start + 10))
    broker.forget_before("t", 0, 30)
    for _ in range(2):
        error = Reader(processes, broker.kafka, is_started=True).wait_for_end()
        assert error.reason == "KAFKA_MESSAGES_LOST"
        assert "10 to 29 of t/0" in error.message
        assert error.metadata == {"topic": "t", "partition": "0", "offset": "10", "oldest_offset": "30"}
    with reading(processes, broker.kafka, is_started=True, accepts_loss=True):
        until_rows(tmp_path, 30)
    assert ids(tmp_path) == [*range(10), *range(30, 50)]


def test_a_topic_that_ends_before_what_was_read_stops_the_subscription(
    processes: DataProcesses, broker: StrictBroker, tmp_path: Path
) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", numbered(0, 10))
    with reading(processes, broker.kafka):
        until_rows(tmp_path, 10)
    broker.delete_topic("t")
    broker.create_topic("t")
    broker.kafka.send("t", numbered(100, 105))
    error = Reader(processes, broker.kafka, is_started=True).wait_for_end()
    assert error.reason == "KAFKA_TOPIC_SHORTER"
    assert ids(tmp_path) == list(range(10))


def test_a_topic_that_is_forbidden_stops_the_subscription(processes: DataProcesses, broker: StrictBroker) -> None:
    broker.create_topic("t")
    broker.refuse("t", TOPIC_AUTHORIZATION_FAILED)
    error = Reader(processes, broker.kafka).wait_for_end()
    assert (error.reason, error.code.name) == ("KAFKA_ACCESS_DENIED", "PERMISSION_DENIED")


def test_a_broker_that_goes_for_a_while_is_waited_for_and_one_that_stays_away_is_not(
    processes: DataProcesses, broker: StrictBroker, tmp_path: Path
) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", numbered(0, 10))
    patient = Reader(processes, broker.kafka, patience_s=60.0)
    until_rows(tmp_path, 10)
    broker.set_down()
    impatient = Reader(processes, broker.kafka, group="other", patience_s=0.1)
    error = impatient.wait_for_end()
    assert (error.reason, error.code.name) == ("KAFKA_UNAVAILABLE", "UNAVAILABLE")
    broker.set_up()
    broker.kafka.send("t", numbered(10, 20))
    until_rows(tmp_path, 20)
    patient.stop()
    assert patient.error is None
    assert ids(tmp_path) == list(range(20))


def test_properties_that_the_library_refuses_are_named_without_their_values(processes: DataProcesses, broker: StrictBroker) -> None:
    properties = {**broker.kafka.properties, "security.protocol": "hush-hush"}
    error = Reader(processes, broker.kafka, properties=properties).wait_for_end()
    assert error.reason == "KAFKA_SETTINGS_INVALID"
    assert "security.protocol" in error.message
    assert "hush" not in error.message


def test_the_last_message_of_a_key_wins_an_upsert(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t")

    def changes(rows: Iterable[tuple[int, str]]) -> list[bytes]:
        return [json.dumps({"id": key, "value": value}).encode() for key, value in rows]

    with reading(processes, broker.kafka, mode="UPSERT", keys=["id"], commit_interval_s=0.05) as reader:
        broker.kafka.send("t", changes([(1, "a"), (2, "b"), (1, "c")]))
        until_rows(tmp_path, 2)
        broker.kafka.send("t", [*changes([(2, "d"), (3, "e")]), b'{"value": "keyless"}'])
        until_rows(tmp_path, 3)
        eventually(lambda: reader.count("rows_rejected") == 1, PATIENCE_S)
        # Whether one comes alone or beside others makes no difference.
        broker.kafka.send("t", [b'{"value": "keyless"}'])
        eventually(lambda: reader.count("rows_rejected") == 2, PATIENCE_S)
    assert sorted((row["id"], row["value"]) for row in rows_in(tmp_path)) == [(1, "c"), (2, "d"), (3, "e")]


def test_small_files_are_joined_now_and_then(processes: DataProcesses, broker: StrictBroker, tmp_path: Path) -> None:
    broker.create_topic("t")
    with reading(processes, broker.kafka, commit_interval_s=0.01, most_rows=1, commits_between_compactions=10):
        broker.kafka.send("t", numbered(0, 45))
        until_rows(tmp_path, 45)
    table = Tables((tmp_path / "tables").as_uri()).table(PROJECT, DATASET)
    operations = [version.operation for version in table.versions(limit=100)]
    assert operations.count("OPTIMIZE") == 4
    assert table.snapshot().file_count < 10
    assert ids(tmp_path) == list(range(45))


@pytest.mark.parametrize("has_origin", [True])
def test_rows_say_where_they_come_from(processes: DataProcesses, broker: StrictBroker, tmp_path: Path, has_origin: bool) -> None:
    broker.create_topic("t", 2)
    broker.kafka.send("t", numbered(0, 2), partition=1, key=b"\x00key")
    with reading(processes, broker.kafka, payload={"format": "JSON", "has_origin": has_origin}):
        until_rows(tmp_path, 2)
    rows: list[dict[str, Any]] = sorted(rows_in(tmp_path), key=lambda row: row["id"])
    assert [(row["kafka_topic"], row["kafka_partition"], row["kafka_offset"], row["kafka_key"]) for row in rows] == [
        ("t", 1, 0, b"\x00key"),
        ("t", 1, 1, b"\x00key"),
    ]
    assert all(row["kafka_time"].year >= 2026 for row in rows)


def test_a_column_that_is_renamed_meanwhile_stops_it_until_somebody_decides(
    processes: DataProcesses, broker: StrictBroker, tmp_path: Path
) -> None:
    broker.create_topic("t")
    broker.kafka.send("t", [b'{"id": 1, "delay": 5}'])
    reader = Reader(processes, broker.kafka)
    until_rows(tmp_path, 1)
    change = {"project": PROJECT, "dataset": DATASET, "ingestion_id": "c", "renamed_columns": {"delay": "late_by"}, "dropped_columns": []}
    processes.run("change_schema", change)
    broker.kafka.send("t", [b'{"id": 2}'])
    until_rows(tmp_path, 2)
    broker.kafka.send("t", [b'{"id": 3, "delay": 6}'])
    assert reader.wait_for_end().reason == "COLUMNS_CHANGED"
    with reading(processes, broker.kafka, is_started=True):
        until_rows(tmp_path, 3)
    assert sorted((row["id"], row["late_by"], row["delay"]) for row in rows_in(tmp_path)) == [(1, 5, None), (2, None, None), (3, None, 6)]
