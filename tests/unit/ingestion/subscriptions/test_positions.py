from __future__ import annotations

from collections.abc import Mapping, Sequence

from servers.ingestion.data_process.kafka.gathered import Gathered
from servers.ingestion.data_process.kafka.message import Message
from servers.ingestion.data_process.kafka.positions import Partition, Position, Positions

P = ("t", 0)


def found(
    *,
    written: int = 0,
    committed: int = -1001,
    known: Position | None = None,
    begins: bool = False,
    is_latest: bool = False,
    bounds: tuple[int, int] = (5, 100),
) -> Position:
    positions = Positions("id", {} if known is None else {P: known}, begins=begins, is_latest=is_latest)
    table = {positions.producer(P): written or None}
    asked: list[Sequence[Partition]] = []

    def of_group(partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        asked.append(partitions)
        return dict.fromkeys(partitions, committed)

    place = positions.found([P], table.get, of_group, lambda partitions: dict.fromkeys(partitions, bounds))[P]
    # What the dataset knows is asked of nobody else.
    assert bool(asked) == (not written)
    return place


def test_the_dataset_goes_before_everything_else() -> None:
    assert found(written=40, committed=90, known=Position(30, 35)) == Position(40, 40)
    assert found(written=40, committed=10, begins=True, is_latest=True) == Position(40, 40)


def test_messages_without_rows_after_that_are_known_from_the_last_report() -> None:
    assert found(written=40, known=Position(40, 44)) == Position(40, 44)
    # A dataset that was brought back from elsewhere does not have what the report says.
    assert found(written=40, known=Position(50, 54)) == Position(40, 40)
    assert found(written=0, known=Position(50, 54)) == Position(0, 5)


def test_where_the_dataset_has_nothing_the_group_says_it_and_else_the_last_report() -> None:
    assert found(committed=70, known=Position(0, 60)) == Position(0, 70)
    assert found(committed=0) == Position(0, 0)
    assert found(known=Position(0, 60)) == Position(0, 60)


def test_where_nobody_knows_it_begins_as_wanted() -> None:
    assert found(begins=True) == Position(0, 5)
    assert found(begins=True, is_latest=True) == Position(0, 100)
    # Added since it began with the latest.
    assert found(is_latest=True) == Position(0, 5)


def test_a_commit_moves_the_dataset_from_where_it_was() -> None:
    delivery = Position(40, 50).delivery("kafka:id/t/0")
    assert (delivery.producer, delivery.after, delivery.sequence) == ("kafka:id/t/0", 40, 50)


def test_large_messages_are_asked_for_a_few_at_a_time() -> None:
    gathered = Gathered(1000, 100, 1.0, lambda: 0.0)
    gathered.add(Message("t", 0, 0, None, None, b"v" * 20))
    assert gathered.room == 4
    gathered.add(Message("t", 0, 1, None, None, b"v" * 200))
    assert gathered.room == 1


def test_messages_are_due_when_they_are_many_or_large_or_old() -> None:
    now = 0.0
    gathered = Gathered(3, 100, 1.0, lambda: now)
    assert (gathered.room, gathered.wait_s(0.5), gathered.is_due()) == (1, 0.5, False)
    gathered.add(Message("t", 0, 0, None, None, b"x"))
    assert (gathered.room, gathered.wait_s(0.5), gathered.is_due()) == (2, 0.5, False)
    now = 0.9
    assert 0 < gathered.wait_s(0.5) < 0.11
    gathered.add(Message("t", 0, 1, None, b"k" * 50, b"v" * 60))
    assert gathered.is_due()
    assert [message.offset for message in gathered.take()] == [0, 1]
    assert not gathered.is_due()
    gathered.add(Message("t", 0, 2, None, None, None))
    now = 1.95
    assert gathered.is_due()
