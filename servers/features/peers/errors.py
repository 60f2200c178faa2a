"""Peers that do not answer."""

from __future__ import annotations

from servers.runtime.errors import Unavailable


class IngestionUnavailable(Unavailable):
    """The ingestion server does not answer, or does not let this one in."""

    reason = "INGESTION_UNAVAILABLE"


class ProcessingUnavailable(Unavailable):
    """The processing server does not answer, or does not let this one in."""

    reason = "PROCESSING_UNAVAILABLE"


class RegistryUnavailable(Unavailable):
    """The model registry does not answer, or does not let this one in."""

    reason = "REGISTRY_UNAVAILABLE"
