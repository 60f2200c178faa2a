"""How a job would run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers.processing.job_process.reading import check_outputs, read_plan
from servers.processing.plan.estimates import InputSize, estimates
from servers.processing.plan.explain import explained
from servers.processing.plan.nodes import Scan
from servers.processing.plan.plan_json import plan_to_json
from servers.runtime.data_process.messages import OnProgress


def explain(arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Says what a plan becomes, and what it is likely to take.

    Args:
        arguments: As `read_plan`; `outputs`: steps that are written.

    Raises:
        InvalidPlan: INVALID_ARGUMENT.
    """
    read = read_plan(arguments)
    check_outputs(read, arguments["outputs"])
    sizes = {name: InputSize(dataset.row_count) for name, dataset in read.datasets.items()}
    found = estimates(read.bound, sizes)
    scanned = [(bound.node.source, found[name]) for name, bound in read.bound.nodes.items() if isinstance(bound.node, Scan)]
    return {
        "plan": plan_to_json(read.plan),
        "steps": [
            {
                "step": name,
                "kind": type(bound.node).__name__,
                "columns": [[field.name, str(field.type)] for field in bound.schema],
                "rows": found[name].rows,
                "bytes": found[name].bytes,
                "memory_bytes": found[name].held_bytes,
            }
            for name, bound in read.bound.nodes.items()
        ],
        "text": explained(read.bound, sizes),
        "input_rows": sum(read.datasets[source].row_count for source in {source for source, _ in scanned}),
        "input_bytes": sum(estimate.bytes for _, estimate in scanned),
        "memory_bytes": max((estimate.held_bytes for estimate in found.values()), default=0),
    }
