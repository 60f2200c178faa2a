"""What uses a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from servers.runtime.auth import Principal


@dataclass(frozen=True)
class TouchedDataset:
    """A dataset of which columns are about to change.

    Args:
        project: Its project.
        name: Its name.
        uri: Where its table is.
        columns: The columns that are renamed, dropped or get another type, as they are called now.
    """

    project: str
    name: str
    uri: str
    columns: Sequence[str]


@dataclass(frozen=True)
class Consumer:
    """Something that uses a dataset.

    Args:
        kind: What it is, `model` for example.
        name: Its name.
        version: Its version; empty where it has none.
        columns: Which of the touched columns it uses; empty where it is only known to use the dataset.
    """

    kind: str
    name: str
    version: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """What is known of those that use a dataset.

    Args:
        consumers: Those that were found.
        warnings: Why there may be others, a sentence each.
    """

    consumers: tuple[Consumer, ...] = ()
    warnings: tuple[str, ...] = ()


class Consumers(Protocol):
    """Knows one kind of consumers: those of one other component."""

    def of(self, dataset: TouchedDataset, reader: Principal) -> Found:
        """Finds those that use a dataset, as far as somebody may know. That they cannot be asked is a warning, never an error.

        Args:
            dataset: The dataset.
            reader: Who wants to know.
        """
        ...
