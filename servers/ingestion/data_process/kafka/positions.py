"""How far a dataset is in each partition.

The dataset itself says it: each commit has, for every partition it has messages of, the offset after the last of them, as a delivery of the
producer `kafka:<id of the Kafka>/<topic>/<partition>`. The consumer group has no part in that name, so a message is in a dataset once
whichever group reads it. Messages that become no rows move no dataset; how far those are is known from the last report beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from servers.ingestion.tables import Delivery

_Answer = TypeVar("_Answer")

Partition = tuple[str, int]
"""A topic, and the number of a partition."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition is."""

    written: int
    """Offset after the last message that the dataset has, or knows to pass over; 0 = none."""
    next: int
    """Offset of the next message to read."""

    def delivery(self, producer: str) -> Delivery:
        """Returns what a commit says that moves the dataset there."""
        return Delivery(producer, self.next, after=self.written)


class Positions:
    """Finds out where to go on.

    Args:
        cluster_id: Identifier that the Kafka has itself; another Kafka has other messages under the same numbers.
        known: Where it was when that was last reported.
        begins: Whether nothing was read for the subscription yet.
        is_latest: Whether it begins with what comes from now on.
    """

    def __init__(self, cluster_id: str, known: Mapping[Partition, Position], *, begins: bool, is_latest: bool) -> None:
        self._cluster_id = cluster_id
        self._known = dict(known)
        self._begins = begins
        self._is_latest = is_latest

    def producer(self, partition: Partition) -> str:
        """Returns the name under which a dataset knows a partition."""
        return f"kafka:{self._cluster_id}/{partition[0]}/{partition[1]}"

    def note(self, partition: Partition, position: Position) -> None:
        """Remembers where a partition is."""
        self._known[partition] = position

    def found(
        self,
        partitions: Sequence[Partition],
        last_sequence: Callable[[str], int | None],
        committed: Callable[[Sequence[Partition]], Mapping[Partition, int]],
        bounds: Callable[[Sequence[Partition]], Mapping[Partition, tuple[int, int]]],
    ) -> dict[Partition, Position]:
        """Returns where to go on in partitions.

        Args:
            partitions: Which.
            last_sequence: What the dataset has.
            committed: Asks Kafka for the offsets of the consumer group; negative ones where it has none.
            bounds: Asks Kafka for the offset of the oldest message, and that of the next one that comes.
        """
        written = {partition: last_sequence(self.producer(partition)) or 0 for partition in partitions}
        known = {partition: self._known.get(partition) for partition in partitions}
        fresh = {partition: each for partition, each in known.items() if each is not None and each.written == written[partition]}
        # Where the dataset has nothing, the group may have been moved meanwhile, as people do before they begin.
        unwritten = [partition for partition in partitions if not written[partition]]
        of_group = {partition: offset for partition, offset in _asked(committed, unwritten).items() if offset >= 0}
        unknown = [partition for partition in unwritten if partition not in of_group and partition not in fresh]
        # Also where it began with the latest: what was added later has nothing older than that.
        side = 1 if self._begins and self._is_latest else 0
        begun = {partition: both[side] for partition, both in _asked(bounds, unknown).items()}
        found = {
            partition: Position(at, (of_group | begun)[partition])
            if partition in of_group or partition in begun
            else fresh.get(partition, Position(at, at))
            for partition, at in written.items()
        }
        self._known |= found
        return found

    def begun(self) -> None:
        """Notes that all partitions which there were have their place."""
        self._begins = False


def _asked(
    ask: Callable[[Sequence[Partition]], Mapping[Partition, _Answer]], partitions: Sequence[Partition]
) -> Mapping[Partition, _Answer]:
    return ask(partitions) if partitions else {}
