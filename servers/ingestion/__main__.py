"""`python -m servers.ingestion`: serves data ingestion."""

from __future__ import annotations

import sys

from servers.ingestion.composition import build
from servers.ingestion.settings import IngestionSettings
from servers.runtime.server import run

__all__ = ["IngestionSettings", "build"]

if __name__ == "__main__":
    sys.exit(run(lambda: build(IngestionSettings())))
