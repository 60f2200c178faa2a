"""Which version a caller chose, and the signatures that the client has seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from mlops.common.v1 import tensor_pb2
from mlops.serving.v1 import served_model_pb2

from mlmesh.errors import InvalidArgument

_MOST_REMEMBERED = 1024


@dataclass(frozen=True)
class Selection:
    """The choice of a version: a number, an alias, a stage, or none of them.

    Raises:
        InvalidArgument: More than one choice is made.
    """

    project: str
    model: str
    version: int
    alias: str
    stage: str

    def __post_init__(self) -> None:
        chosen = [name for name, value in (("version", self.version), ("alias", self.alias), ("stage", self.stage)) if value]
        if len(chosen) > 1:
            raise InvalidArgument(f"choose one of {' and '.join(chosen)}", reason="SELECTION_AMBIGUOUS")

    def message(self) -> served_model_pb2.ModelSelector:
        """Returns it as a message."""
        choice = {name: value for name, value in (("version", self.version), ("alias", self.alias), ("stage", self.stage)) if value}
        return served_model_pb2.ModelSelector(name=self.model, **cast("dict[str, Any]", choice))


@dataclass
class Signatures:
    """Signatures by choice; the oldest make room."""

    _by_selection: dict[Selection, tensor_pb2.Signature] = field(default_factory=dict)

    def known(self, selection: Selection) -> tensor_pb2.Signature | None:
        """Returns the signature seen for a choice; None where there is none."""
        return self._by_selection.get(selection)

    def remember(self, selection: Selection, signature: tensor_pb2.Signature) -> None:
        """Keeps the signature of a choice, where it says anything."""
        self._by_selection.pop(selection, None)
        if signature.inputs:
            self._by_selection[selection] = signature
        while len(self._by_selection) > _MOST_REMEMBERED:
            self._by_selection.pop(next(iter(self._by_selection)))
