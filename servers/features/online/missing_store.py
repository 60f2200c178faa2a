"""The online store of an installation that lacks its driver."""

# ruff: noqa: ARG002 - it looks like a store

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from servers.features.online.errors import OnlineStoreMisconfigured
from servers.features.online.store import OnlineRow, Written

__all__ = ["MissingStore"]


class MissingStore:
    """Says at each call what has to be installed. An `OnlineStore`.

    Args:
        missing: What, in words.
    """

    def __init__(self, missing: str) -> None:
        self._missing = missing

    def write(self, view: str, rows: Iterable[OnlineRow]) -> Written:
        """See `OnlineStore`."""
        self._fail()

    def read(self, view: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `OnlineStore`."""
        self._fail()

    def read_many(self, keys: Mapping[str, Sequence[bytes]]) -> dict[str, list[bytes | None]]:
        """See `OnlineStore`."""
        self._fail()

    def delete(self, view: str, keys: Sequence[bytes]) -> int:
        """See `OnlineStore`."""
        self._fail()

    def remove_older(self, view: str, before_us: int) -> int:
        """See `OnlineStore`."""
        self._fail()

    def drop(self, view: str) -> None:
        """See `OnlineStore`."""
        self._fail()

    def count(self, view: str) -> int:
        """See `OnlineStore`."""
        self._fail()

    def check(self) -> None:
        """See `OnlineStore`."""
        self._fail()

    def close(self) -> None:
        """There is nothing to give back."""

    def _fail(self) -> NoReturn:
        raise OnlineStoreMisconfigured(self._missing)
