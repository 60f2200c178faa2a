"""Messages, and those that are no rows."""

from __future__ import annotations

from typing import NamedTuple

MESSAGE_UNREADABLE = "MESSAGE_UNREADABLE"
"""Reason of a message that is not of its format, or that no table can hold."""

TOMBSTONE = "TOMBSTONE"
"""Reason of a message without a value: in a compacted topic it marks its key as deleted."""

_SHOWN_CHARACTERS = 1000


class Message(NamedTuple):
    """A message.

    Args:
        topic: Its topic.
        partition: Its partition.
        offset: Its offset.
        time_ms: When it was made or stored, in milliseconds since 1970; None where nobody says.
        key: Its key.
        value: Its value; None = a tombstone.
    """

    topic: str
    partition: int
    offset: int
    time_ms: int | None
    key: bytes | None
    value: bytes | None

    @property
    def place(self) -> str:
        """Where it is, as messages say."""
        return f"{self.topic}/{self.partition}@{self.offset}"


class Rejected(NamedTuple):
    """A message that became no row.

    Args:
        message: The message.
        column: The column that it is about; empty where it is the whole message.
        value: The value, or what is wrong with the message.
        reason: Why, in UPPER_SNAKE_CASE.
    """

    message: Message
    column: str
    value: str | None
    reason: str

    def told(self) -> dict[str, object]:
        """Returns it as callers are told of it."""
        column = f"{self.message.place} {self.column}".rstrip()
        value = None if self.value is None else self.value[:_SHOWN_CHARACTERS]
        return {"row": self.message.offset, "column": column, "value": value, "reason": self.reason}


class Unreadable(Exception):
    """A message is no row.

    Args:
        why: What is wrong, as a clause.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
