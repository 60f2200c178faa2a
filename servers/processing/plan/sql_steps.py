"""The steps that a SELECT becomes, while it is being read."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

from servers.processing.plan.errors import PlanTooLarge
from servers.processing.plan.names import is_step_name
from servers.processing.plan.nodes import Node
from servers.runtime.sql_names import folded


class StepWriter:
    """Collects steps and gives them names.

    Args:
        text: The SELECT; internal names are such as do not occur in it.
        limit: Most steps.
    """

    def __init__(self, text: str, limit: int) -> None:
        self.steps: list[Node] = []
        self._limit = limit
        self._names: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._prefix = "x"
        while self._prefix in folded(text):
            self._prefix += "_x"

    def name(self, wanted: str) -> str:
        """A name that no step has yet."""
        base = wanted if is_step_name(wanted) else re.sub(r"[^A-Za-z0-9_]", "_", f"s_{wanted}", flags=re.ASCII)[:40]
        name, number = base, 1
        while folded(name) in self._names:
            number += 1
            name = f"{base[:50]}_{number}"
        self._names.add(folded(name))
        return name

    def add(self, step: Node) -> str:
        """Adds a step and returns its name.

        Raises:
            PlanTooLarge: INVALID_ARGUMENT: the SELECT becomes too many steps.
        """
        if len(self.steps) == self._limit:
            raise PlanTooLarge(f"the SELECT becomes more than {self._limit} steps; divide it into several jobs")
        self.steps.append(step)
        return step.name

    def column(self, what: str) -> str:
        """A name of a column that occurs neither in the SELECT nor in another step."""
        self._counts[what] += 1
        return f"{self._prefix}_{what}_{self._counts[what]}"

    def rename_last(self, wanted: str) -> None:
        """Gives the last step another name. Nothing reads it yet."""
        self.steps[-1] = replace(self.steps[-1], name=wanted)
