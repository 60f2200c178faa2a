from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.populated_messages import load_contracts
from tests.real_servers.transcoder import Transcoder, transcoder
from tools.contracts import compiler
from tools.contracts.openapi import document
from tools.contracts.reading import Contracts


@pytest.fixture(scope="session")
def contracts() -> Contracts:
    load_contracts()
    return Contracts.of_image(compiler.compile_image(with_comments=False))


@pytest.fixture(scope="session")
def openapi(contracts: Contracts) -> dict[str, Any]:
    return document.build(contracts)


@pytest.fixture(scope="session")
def gateway(contracts: Contracts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transcoder]:
    with transcoder(contracts, tmp_path_factory.mktemp("envoy")) as running:
        yield running
