"""What left rows out: an ingestion, a stream of rows or a subscription."""

from __future__ import annotations

from collections.abc import Mapping

_KINDS = {"stream": "producer", "subscription": "subscription"}
_NOBODY = dict.fromkeys(("ingestion_id", *_KINDS.values()), "")


def of_producer(producer: str) -> str:
    """Returns the origin of rows that came in a stream.

    Args:
        producer: Who sent them.
    """
    return f"stream:{producer}"


def of_subscription(name: str) -> str:
    """Returns the origin of rows that were messages of a subscription.

    Args:
        name: Of the subscription.
    """
    return f"subscription:{name}"


def facts_of(origin: str) -> Mapping[str, str]:
    """Returns what callers see of an origin: of `ingestion_id`, `producer` and `subscription` one has a value, and the others are empty.

    Args:
        origin: As above, or the id of an ingestion, which has no colon.
    """
    kind, colon, name = origin.partition(":")
    return _NOBODY | ({_KINDS[kind]: name} if colon else {"ingestion_id": origin})
