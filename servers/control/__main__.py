"""Composition root of the control process: `python -m servers.control`. Which services it hosts is stated in `servers.topology` too."""

from __future__ import annotations

import sys

from servers.features.composition import build as build_features
from servers.features.settings import FeaturesSettings
from servers.ingestion.composition import build as build_ingestion
from servers.ingestion.settings import IngestionSettings
from servers.processing.composition import build as build_processing
from servers.processing.settings import ProcessingSettings
from servers.registry.__main__ import build as build_registry
from servers.registry.settings import RegistrySettings
from servers.runtime.server import Server, run
from servers.system.__main__ import build as build_system
from servers.system.settings import SystemSettings
from servers.users.composition import build as build_users
from servers.users.settings import UsersSettings


def build() -> list[Server]:
    """Puts users, registry, ingestion, processing, features and system together; users first, since the others ask it for keys."""
    return [
        build_users(UsersSettings()),
        build_registry(RegistrySettings()),
        build_ingestion(IngestionSettings()),
        build_processing(ProcessingSettings()),
        build_features(FeaturesSettings()),
        build_system(SystemSettings()),
    ]


if __name__ == "__main__":
    sys.exit(run(build))
