"""Topics of Kafka become rows of a dataset, each message once, until somebody asks for the end.

What the dataset has of each partition is in the commits of its rows, so after any crash, and whoever reads, it says itself where to go on:

1. Messages are gathered, and become rows.
2. The rows are committed with how far each partition is then, if the dataset is still where this reader left it. Otherwise somebody else
   wrote: what was gathered is dropped, and reading begins anew at what the dataset has.
3. Only then is the consumer group told, for whoever watches it, and for partitions of which the dataset has nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from servers.ingestion.data_process.describing import dataset_object
from servers.ingestion.data_process.kafka.gathered import Gathered
from servers.ingestion.data_process.kafka.leaving import Leaving
from servers.ingestion.data_process.kafka.message import Message, Rejected
from servers.ingestion.data_process.kafka.payloads import payload_of
from servers.ingestion.data_process.kafka.positions import Partition, Position, Positions
from servers.ingestion.data_process.kafka.report import Committed, Report
from servers.ingestion.data_process.kafka.rows import MessageRows, at_message, rows_of
from servers.ingestion.data_process.kafka.topic_reader import TopicReader
from servers.ingestion.data_process.quarantine.operations import quarantine_of
from servers.ingestion.data_process.quarantine.origin import of_subscription
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.subscriptions.errors import KafkaTopicNotFound, UnreadableMessage
from servers.ingestion.table_errors import DeliveryOutOfTurn, ValueDoesNotFit
from servers.ingestion.tables import ContractMode, DatasetTable, RejectedRow, SchemaContract, WriteMode
from servers.ingestion.tables.writing import Write
from servers.runtime.data_process.messages import OnProgress
from servers.runtime.errors import DomainError

_LOGGER = logging.getLogger(__name__)

_IDLE_S = 0.5
"""How long one look for messages takes where there are none, in seconds."""

_LOOK_FOR_TOPICS_S = 5.0


def check(workplace: Workplace, arguments: Mapping[str, Any]) -> None:
    """Refuses a subscription that could write nothing, whatever messages come."""
    contract = _contract(arguments["contract"])
    Write(WriteMode[arguments["mode"]], tuple(arguments["keys"]), contract, None)  # refuses keys that do not go with the mode
    payload_of(arguments["payload"], contract.types, workplace.limits)


class Subscriber:
    """One subscription at work.

    Args:
        workplace: Where tables are.
        arguments: Of the operation `consume`.
        reader: Reads its topics.
        on_progress: Who is told what changed.
    """

    def __init__(self, workplace: Workplace, arguments: Mapping[str, Any], reader: TopicReader, on_progress: OnProgress) -> None:
        self._table: DatasetTable = workplace.tables.table(arguments["project"], arguments["dataset"])
        seen_version = self._table.standing("").version
        self._fence = None if seen_version is None else self._table.fence(seen_version)
        self._mode, self._keys = WriteMode[arguments["mode"]], tuple(arguments["keys"])
        self._contract = _contract(arguments["contract"])
        self._payload = payload_of(arguments["payload"], self._contract.types, workplace.limits)
        self._quarantine, self._origin = quarantine_of(workplace, arguments), of_subscription(arguments["subscription"])
        self._has_origin = bool(arguments["payload"].get("has_origin"))
        self._freezes = arguments["unreadable"] == "FREEZE"
        self._cluster, self._topics = arguments["cluster"], tuple(arguments["topics"])
        self._stop_file = Path(arguments["stop_file"])
        self._commits_between_compactions = int(arguments["commits_between_compactions"])
        self._commits = 0
        self._accepts_loss = bool(arguments["accepts_loss"])
        self._begins = not arguments["is_started"]
        self._reader = reader
        self._gathered = Gathered(arguments["most_rows"], arguments["most_bytes"], arguments["commit_interval_s"])
        known = {(topic, partition): Position(written, offset) for topic, partition, offset, written in arguments["known"]}
        self._report = Report(on_progress, workplace.most_rejected_rows, lambda: dataset_object(self._table))
        cluster_id = reader.cluster_id(self._topics)
        self._positions = Positions(cluster_id, known, begins=self._begins, is_latest=arguments["start"] == "LATEST")

    def run(self) -> None:
        """Reads and writes until it is to stop, or cannot go on."""
        if self._begins:
            self._begin()
        self._reader.subscribe(self._topics, self._starts)
        next_look = time.monotonic() + _LOOK_FOR_TOPICS_S
        while not self._stop_file.exists():
            self._gather()
            if self._gathered.is_due():
                self._write()
            if self._reader.missing_topics and time.monotonic() >= next_look:
                self._reader.look_for_missing()
                next_look = time.monotonic() + _LOOK_FOR_TOPICS_S
            self._tell()
        if self._gathered.messages:
            self._write()
        self._reader.commit(self._reader.assigned, waits=True)
        self._tell(at_once=True)

    def _begin(self) -> None:
        """Gives each partition that there is its place, before anything is read: what is added later begins with its oldest message."""
        places = self._starts(self._reader.partitions(self._topics))
        self._reader.commit(places, waits=True)
        self._report.add_started()
        self._report.send(places, lambda _partition: None, None, at_once=True)
        self._positions.begun()

    def _starts(self, partitions: Sequence[Partition]) -> dict[Partition, Position]:
        found = self._positions.found(partitions, self._table.last_sequences(), self._reader.committed, self._reader.bounds)
        return self._after_loss(found) if self._accepts_loss else found

    def _after_loss(self, found: Mapping[Partition, Position]) -> dict[Partition, Position]:
        oldest = {partition: bounds[0] for partition, bounds in self._reader.bounds(list(found)).items()}
        after = {partition: Position(each.written, max(each.next, oldest[partition])) for partition, each in found.items()}
        for partition, position in after.items():
            # The consent counts for the first assignment alone, and another one may come before the first commit.
            self._positions.note(partition, position)
        return after

    def _gather(self) -> None:
        try:
            found, is_reassigned = self._reader.read(self._gathered.room, self._gathered.wait_s(_IDLE_S))
        except DomainError:
            # What was gathered of partitions that came or went may be another reader's by now.
            if self._gathered.messages and not self._reader.is_reassigned:
                self._write()
            raise
        if is_reassigned:
            self._gathered.clear()
            self._report.add_assigned(self._reader.assigned)
            self._accepts_loss = self._accepts_loss and not self._reader.assigned
        for message in found:
            self._gathered.add(message)

    def _write(self) -> None:
        try:
            messages, rows, failure = self._rows(self._gathered.take())
            positions = self._after(messages)
            written = None if rows.rows is None else self._commit(rows, positions)
        except DeliveryOutOfTurn:
            # Somebody else writes the same partitions, or the table was replaced.
            self._reader.begin_anew(self._starts(list(self._reader.assigned)))
            return
        if written is not None and written.version is not None:
            positions = {partition: Position(each.next, each.next) for partition, each in positions.items()}
            self._commits += 1
            self._fence = self._fence or self._table.fence(written.version)
        for partition, position in positions.items():
            self._positions.note(partition, position)
            if partition in self._reader.assigned:
                self._reader.assigned[partition] = position
        self._reader.commit(positions)
        rejected = rows.rejected if failure is None else [each for each in rows.rejected if each is not failure]
        self._report.add_written(rejected, written)
        if failure is not None:
            self._tell(at_once=True)
            message = failure.message
            raise UnreadableMessage(message.topic, message.partition, message.offset, str(failure.value))
        if self._commits >= self._commits_between_compactions:
            self._compact()

    def _rows(self, messages: Sequence[Message]) -> tuple[Sequence[Message], MessageRows, Rejected | None]:
        """Returns the messages that are dealt with, their rows, and the first message that stops the subscription."""
        schema = self._table.standing("").schema
        rows = rows_of(messages, self._payload, schema, keys=self._keys, has_origin=self._has_origin)
        failure = stop = rows.first_unreadable() if self._freezes else None
        while stop is not None:
            # Of its partition only what is before; another partition may have one of this kind, too.
            topic, partition, offset = stop.message[:3]
            messages = [each for each in messages if each[:2] != (topic, partition) or each.offset < offset]
            rows = rows_of(messages, self._payload, schema, keys=self._keys, has_origin=self._has_origin)
            stop = rows.first_unreadable()
        return messages, rows, failure

    def _after(self, messages: Sequence[Message]) -> dict[Partition, Position]:
        """Returns how far partitions are once these messages are dealt with."""
        ends = {(message.topic, message.partition): message.offset + 1 for message in messages}
        return {partition: Position(self._reader.assigned[partition].written, end) for partition, end in ends.items()}

    def _commit(self, rows: MessageRows, positions: Mapping[Partition, Position]) -> Committed:
        assert rows.rows is not None  # noqa: S101  # asked before
        rejected: list[RejectedRow] = []
        with Leaving(self._quarantine, self._origin, rows) as leaving:

            def on_rejected(row: RejectedRow) -> None:
                rejected.append(row)
                leaving.add(row)

            try:
                written = self._table.write(
                    iter([rows.rows]),
                    rows.rows.schema,
                    mode=self._mode,
                    keys=self._keys,
                    contract=self._contract,
                    deliveries=[position.delivery(self._positions.producer(partition)) for partition, position in positions.items()],
                    on_rejected=on_rejected,
                    on_judged=leaving.marks,
                    fence=self._fence,
                )
            except ValueDoesNotFit as error:
                raise at_message(error, rows.messages) from None
        # Where another writer changed the table meanwhile, what was reported first is void.
        counted = rejected[len(rejected) - written.rows_rejected :]
        told = [Rejected(rows.messages[row.row], row.column, row.value, row.reason.value) for row in counted]
        return Committed(written.version, written.rows_written, told)

    def _compact(self) -> None:
        self._commits = 0
        try:
            self._table.compact()
        except DomainError as error:
            _LOGGER.warning("small files of a dataset were not joined: %s", error.message)

    def _tell(self, *, at_once: bool = False) -> None:
        missing = self._reader.missing_topics
        error = KafkaTopicNotFound(self._cluster, sorted(missing)) if missing else None
        self._report.send(self._reader.assigned, self._reader.end_offset, error, at_once=at_once)


def _contract(modes: Mapping[str, str]) -> SchemaContract:
    return SchemaContract(**{part: ContractMode[mode] for part, mode in modes.items()})
