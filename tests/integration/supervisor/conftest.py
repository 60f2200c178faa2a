from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.supervisor.bench import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    # The path of a Unix socket is short, and that of `tmp_path` is not.
    with tempfile.TemporaryDirectory(prefix="sv") as folder:
        yield Bench(Path(folder))
