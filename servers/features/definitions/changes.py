"""What people change of an entity, a view or a service beside its specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from servers.runtime.etags import etag_of


class Described(Protocol):
    """An entity, a view or a service."""

    @property
    def id(self) -> str:
        """Its UUID."""

    @property
    def revision(self) -> int:
        """Counts its changes."""

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""


def definition_etag(definition: Described) -> str:
    """Returns what changes when people change a definition; that rows of it come changes nothing."""
    return etag_of(definition.id, definition.revision)


def real_changes(before: Described, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of the texts and labels in `changes` that are other ones."""
    found = {name: changes[name] for name in ("display_name", "description") if name in changes and changes[name] != getattr(before, name)}
    if "labels" in changes and dict(changes["labels"]) != dict(before.labels):
        found["labels"] = dict(changes["labels"])
    return found
