"""Flights that arrive one by one: the last months do not come as a file."""

from __future__ import annotations

import csv
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import mlmesh
from mlmesh.subscriptions import Payload

if TYPE_CHECKING:
    from demo.real_servers.kafka import Kafka

_BATCH_ROWS = 5_000
_LONGEST_WAIT_S = 300.0
_PAUSE_S = 0.2
_PARTITIONS = 3
_TEXTS = ("carrier", "tailnum", "origin", "dest", "time_hour")
_MISSING = "NA"
CLUSTER = "demo"
"""Name of the Kafka in the settings of the mesh."""


class NotArrived(Exception):
    """Rows did not arrive."""


class Arrivals(Protocol):
    """How rows arrive."""

    def bring(self, client: mlmesh.Mesh, dataset: str, rows: Sequence[dict[str, Any]]) -> str:
        """Has rows arrive in a dataset, each once; returns when they are in it.

        Args:
            client: The mesh.
            dataset: The dataset.
            rows: Values of JSON by column.

        Returns:
            How they came, for people.

        Raises:
            NotArrived: They did not.
        """


class Streamed:
    """A stream of gRPC, acknowledged batch by batch."""

    def bring(self, client: mlmesh.Mesh, dataset: str, rows: Sequence[dict[str, Any]]) -> str:
        """See `Arrivals`."""
        # Each run is a producer of its own: what an earlier one sent is not there any more.
        with client.streams.write_rows(dataset, producer=f"demo-{uuid.uuid4()}") as stream:
            for first in range(0, len(rows), _BATCH_ROWS):
                stream.send(rows[first : first + _BATCH_ROWS])
        return "a stream of gRPC"


@dataclass(frozen=True)
class Published:
    """Messages of a topic, which the mesh subscribes to.

    Args:
        kafka: A broker, with a `CLUSTER` of the mesh's settings that leads to it.
    """

    kafka: Kafka

    def bring(self, client: mlmesh.Mesh, dataset: str, rows: Sequence[dict[str, Any]]) -> str:
        """See `Arrivals`."""
        self.kafka.create_topic(dataset, _PARTITIONS)
        client.subscriptions.create_subscription(dataset, dataset=dataset, cluster=CLUSTER, topics=[dataset], payload=Payload())
        self.kafka.send(dataset, (json.dumps(row).encode() for row in rows), partitions=_PARTITIONS)
        deadline = time.monotonic() + _LONGEST_WAIT_S
        while (found := client.subscriptions.get_subscription(dataset)).rows_written < len(rows):
            if found.state == "failed" or time.monotonic() > deadline:
                raise NotArrived(f"{found.rows_written} of {len(rows)} messages are in {dataset}: {found.error}")
            time.sleep(_PAUSE_S)
        # It would wait for more as long as the mesh runs.
        client.subscriptions.delete_subscription(dataset)
        return "a topic of Kafka"


def split_file(path: Path, first_arriving_month: int) -> tuple[Path, list[dict[str, Any]]]:
    """Takes the flights of the last months out of the file.

    Args:
        path: All flights, as CSV.
        first_arriving_month: From which month on flights arrive one by one.

    Returns:
        A file beside it with the flights before, and the others as JSON has them.
    """
    before = path.with_name(f"{path.stem}-before.csv")
    arriving = []
    with path.open(newline="") as lines, before.open("w", newline="") as kept:
        reader = csv.DictReader(lines)
        writer = csv.DictWriter(kept, reader.fieldnames or ())
        writer.writeheader()
        for row in reader:
            if int(row["month"]) < first_arriving_month:
                writer.writerow(row)
            else:
                arriving.append({column: _value(column, text) for column, text in row.items()})
    return before, arriving


def _value(column: str, text: str) -> str | int | None:
    if text == _MISSING:
        return None
    return text if column in _TEXTS else int(text)
