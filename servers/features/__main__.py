"""`python -m servers.features`: serves the feature store."""

from __future__ import annotations

import sys

from servers.features.composition import build
from servers.features.settings import FeaturesSettings
from servers.runtime.server import run

__all__ = ["FeaturesSettings", "build"]

if __name__ == "__main__":
    sys.exit(run(lambda: build(FeaturesSettings())))
