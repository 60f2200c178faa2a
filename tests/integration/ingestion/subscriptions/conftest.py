from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.real_servers.kafka import TansuBroker, tansu
from servers.ingestion.data_process import DataProcesses
from tests.integration.ingestion.subscriptions.readers import processes_in
from tests.real_servers.kafka import StrictBroker, strict_broker


@pytest.fixture(scope="module")
def tansu_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TansuBroker]:
    """Tansu, in memory."""
    with tansu(tmp_path_factory.mktemp("tansu")) as broker:
        yield broker


@pytest.fixture
def broker() -> Iterator[StrictBroker]:
    """The broker of librdkafka's own tests."""
    with strict_broker() as running:
        yield running


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[DataProcesses]:
    """Data processes whose tables are in `tmp_path`."""
    with processes_in(tmp_path) as pool:
        yield pool
