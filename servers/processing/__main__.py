"""`python -m servers.processing`: serves data processing."""

from __future__ import annotations

import sys

from servers.processing.composition import build
from servers.processing.settings import ProcessingSettings
from servers.runtime.server import run

__all__ = ["ProcessingSettings", "build"]

if __name__ == "__main__":
    sys.exit(run(lambda: build(ProcessingSettings())))
