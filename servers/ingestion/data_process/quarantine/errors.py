"""What can be wrong with rows in quarantine."""

from __future__ import annotations

from servers.runtime.errors import Aborted


class QuarantineChanged(Aborted):
    """Somebody else replayed or removed rows meanwhile."""

    reason = "QUARANTINE_CHANGED"

    def __init__(self, dataset: str) -> None:
        text = f"the quarantine of dataset {dataset!r} was changed by others meanwhile; nothing was written, repeat the call"
        super().__init__(text, metadata={"dataset": dataset}, retry_after_s=1)
