"""What was gathered is void as soon as partitions are given or taken, also where reading fails in that moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from servers.ingestion.data_process import DataProcessSettings
from servers.ingestion.data_process.kafka.message import Message
from servers.ingestion.data_process.kafka.positions import Partition, Position
from servers.ingestion.data_process.kafka.subscriber import Subscriber
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.subscriptions.errors import KafkaUnavailable
from servers.ingestion.tables import Delivery
from tests.integration.ingestion.subscriptions.readers import rows_in
from tests.integration.ingestion.tables.deliveries import rows_of

HERE = ("t", 0)
MESSAGES = [Message("t", 0, offset, None, None, b'{"id": %d}' % offset) for offset in range(5)]
ARGUMENTS = {
    **{"project": "p", "dataset": "d", "subscription": "s", "cluster": "main", "topics": ["t"], "group": "g", "mode": "APPEND", "keys": []},
    **{"payload": {"format": "JSON"}, "contract": {}, "unreadable": "DISCARD_ROW", "start": "EARLIEST", "commit_interval_s": 60},
    **{"known": [], "is_started": True, "accepts_loss": False, "most_rows": 1000, "most_bytes": 1 << 20, "commits_between_compactions": 9},
}


class FailingReader:
    """Has a partition and gives its messages; then the group changes, and in the same breath Kafka stops answering."""

    def __init__(self, change: Callable[[FailingReader], None]) -> None:
        self._change = change
        self.assigned: dict[Partition, Position] = {HERE: Position(0, 0)}
        self.missing_topics: set[str] = set()
        self.is_reassigned = False

    def cluster_id(self, _topics: Sequence[str]) -> str:
        return "kafka-1"

    def subscribe(self, _topics: Sequence[str], _starts: Any) -> None:
        self._unread = [MESSAGES, None]

    def read(self, _most: int, _timeout_s: float) -> tuple[list[Message], bool]:
        found = self._unread.pop(0)
        if found is None:
            self.is_reassigned = True
            self._change(self)
            raise KafkaUnavailable("main", "it went away")
        return found, False

    def commit(self, _positions: Mapping[Partition, Position], *, waits: bool = False) -> None:
        pass

    def end_offset(self, _partition: Partition) -> int | None:
        return None


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    settings = DataProcessSettings(tables_url=(tmp_path / "tables").as_uri(), scratch_folder=tmp_path)
    return Workplace.of(settings.for_process(tmp_path))


def run(workplace: Workplace, change: Callable[[FailingReader], None]) -> None:
    reader: Any = FailingReader(change)
    arguments = {**ARGUMENTS, "stop_file": str(workplace.sources.scratch_folder / "stop")}
    subscriber = Subscriber(workplace, arguments, reader, lambda _told: None)
    with pytest.raises(KafkaUnavailable):
        subscriber.run()


def test_a_partition_that_was_taken_leaves_the_error_as_it_is(workplace: Workplace, tmp_path: Path) -> None:
    run(workplace, lambda reader: reader.assigned.clear())
    assert rows_in(tmp_path) == []


def test_a_partition_that_another_one_has_read_meanwhile_is_not_written_again(workplace: Workplace) -> None:
    table = workplace.tables.table("p", "d")

    def change(reader: FailingReader) -> None:
        rows = pa.record_batch({"id": list(range(5))})
        table.write(iter([rows]), rows.schema, deliveries=[Delivery("kafka:kafka-1/t/0", 5, after=0)])
        reader.assigned[HERE] = Position(5, 5)

    run(workplace, change)
    assert sorted(row["id"] for row in rows_of(table)) == [0, 1, 2, 3, 4]
