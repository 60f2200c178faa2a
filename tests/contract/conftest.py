from __future__ import annotations

import pytest

from tools.contracts import compiler
from tools.contracts.reading import Contracts


@pytest.fixture(scope="session")
def image() -> bytes:
    """All contracts, compiled from source now, comments included."""
    return compiler.compile_image(with_comments=True)


@pytest.fixture(scope="session")
def contracts(image: bytes) -> Contracts:
    return Contracts.of_image(image)
