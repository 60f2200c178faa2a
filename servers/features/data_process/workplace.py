"""What the operations of a process share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from servers.features.online import OnlineStore, open_online_store
from servers.runtime.tables.storage import TableStorage


class Workplace:
    """The online store and the storage of datasets.

    Args:
        settings: As `FeatureProcessSettings.for_process` tells them.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings

    @cached_property
    def online(self) -> OnlineStore:
        """The online store; opened when it is first needed, and kept: LMDB may be open once a process."""
        return open_online_store(
            self._settings["online_url"], max_bytes=self._settings["online_max_bytes"], timeout_s=self._settings["online_timeout_s"]
        )

    @cached_property
    def storage(self) -> TableStorage:
        """Where datasets are; credentials and region come from the environment."""
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
        return TableStorage(endpoint=self._settings["s3_endpoint"], region=region)
