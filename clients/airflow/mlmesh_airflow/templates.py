"""Templates where Airflow does not look for them: in keys of mappings, and in the expressions of plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import mlmesh
from google.protobuf.json_format import MessageToDict
from jinja2.sandbox import SandboxedEnvironment

if TYPE_CHECKING:
    from airflow.sdk import Context


class Templates:
    """Renders templates.

    Args:
        context: Of the task.
        filters: Those that templates may use.
    """

    def __init__(self, context: Context, filters: Mapping[str, Callable[..., Any]]) -> None:
        # Not Airflow's own: where a DAG wants native objects, that makes a number of the text `1`.
        self._environment = SandboxedEnvironment(keep_trailing_newline=True)
        self._environment.filters.update(filters)
        self._context = context

    def text(self, template: str) -> str:
        """Returns a text, rendered."""
        return self._environment.from_string(template).render(**self._context)

    def spec(self, spec: mlmesh.JobSpec) -> dict[str, Any]:
        """Returns a spec as the contract has it in JSON, with its plan rendered.

        Python functions stay as they are: double braces mean something else there.
        """
        described = MessageToDict(spec.message(), preserving_proto_field_name=True)
        for step in described.get("plan", {}).get("steps", ()):
            if "python_function" not in step:
                step.update(self._rendered(step))
        return described

    def _rendered(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._rendered(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._rendered(one) for one in value]
        return self.text(value) if isinstance(value, str) else value
