"""What requests that begin ingestions have in common: who asks, under which id, and how long the answer waits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from google.protobuf.duration_pb2 import Duration

from servers.ingestion.ingesting import Ingesting
from servers.ingestion.records import Ingestion, NewIngestion
from servers.runtime.auth import current_principal, current_project
from servers.runtime.effects import effect_id
from servers.runtime.streams import should_end


def requested(dataset: str, source: str, mode: str, request: Mapping[str, Any], now: datetime) -> NewIngestion:
    """Returns the ingestion that the current request wants.

    Args:
        dataset: Into which dataset.
        source: What callers are told of where the data come from.
        mode: How they are written.
        request: What the worker needs to know.
        now: The time.
    """
    return NewIngestion(effect_id(), current_project(), dataset, source, mode, request, current_principal().display_name, now)


def awaited(ingesting: Ingesting, started: Ingestion, wait: Duration) -> Ingestion:
    """Returns an ingestion once it has ended, or the request waits no longer; at once where it does not wait.

    Args:
        ingesting: Knows how it stands.
        started: The ingestion as it was begun.
        wait: How long the request waits.
    """
    waited_s = wait.ToTimedelta().total_seconds()
    return ingesting.wait(started.project, started.id, waited_s, should_end) if waited_s else started
