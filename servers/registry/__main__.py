"""`python -m servers.registry`: serves the model registry."""

from __future__ import annotations

import sys

from servers.registry.composition import build
from servers.registry.settings import RegistrySettings
from servers.runtime.server import run

__all__ = ["RegistrySettings", "build"]

if __name__ == "__main__":
    sys.exit(run(lambda: build(RegistrySettings())))
