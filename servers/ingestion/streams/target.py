"""Where the batches of a stream go, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """Where the batches of a stream go, and how.

    Args:
        project: Project of the dataset.
        dataset: The dataset.
        producer: Who sends.
        mode: APPEND or UPSERT.
        keys: Columns that tell rows apart.
        contract: What may change of the dataset; what is left out is EVOLVE.
        column_types: Types of columns, instead of those that are found.
        seen_version: The version of the dataset when the stream began, or the first that it wrote: what columns meant to its sender. None =
            there is none yet.
    """

    project: str
    dataset: str
    producer: str
    mode: str
    keys: tuple[str, ...]
    contract: Mapping[str, str]
    column_types: Mapping[str, str]
    seen_version: int | None = None

    def described(self) -> dict[str, Any]:
        """Returns it as a data process takes it."""
        return asdict(self)
