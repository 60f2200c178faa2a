"""Times as messages have them."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Returns a time as it travels; None stays None, which leaves the field out."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message
