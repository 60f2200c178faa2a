"""Topics of Kafka become rows of a dataset. What does it is loaded with the first of these operations: it needs the extra `kafka`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.ingestion.data_process.workplace import Workplace
from servers.runtime.data_process.messages import OnProgress


def check_subscription(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> None:
    """Refuses a subscription that could write nothing, whatever messages come. Asks no Kafka."""
    from servers.ingestion.data_process.kafka.subscriber import check

    check(workplace, arguments)


def consume(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> None:
    """Reads and writes until the file `stop_file` is there."""
    from servers.ingestion.data_process.kafka.subscriber import Subscriber
    from servers.ingestion.data_process.kafka.topic_reader import TopicReader

    reader = TopicReader(arguments["cluster"], arguments["properties"], arguments["group"], arguments["patience_s"])
    try:
        Subscriber(workplace, arguments, reader, on_progress).run()
    finally:
        reader.close()
