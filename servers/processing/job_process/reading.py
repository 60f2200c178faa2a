"""Inputs and plan of a job, as the server describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from servers.processing.plan.binding import BoundPlan, bind
from servers.processing.plan.errors import InvalidPlan
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.plan import Plan
from servers.processing.plan.plan_json import plan_from_json
from servers.processing.plan.sql import plan_of_sql
from servers.runtime.tables.dataset import Dataset, open_dataset
from servers.runtime.tables.storage import TableStorage


@dataclass(frozen=True)
class ReadPlan:
    """A plan and what it reads.

    Args:
        plan: Steps and outputs.
        bound: The same, bound to the inputs.
        datasets: Inputs by their names.
    """

    plan: Plan
    bound: BoundPlan
    datasets: Mapping[str, Dataset]


def read_plan(arguments: Mapping[str, Any]) -> ReadPlan:
    """Opens the inputs of a job and binds its plan to them.

    Args:
        arguments: `inputs` (URI and version by name), `storage` (as `TableStorage`), `plan` (JSON) or `sql`, `limits` (as `PlanLimits`).

    Raises:
        InvalidPlan: INVALID_ARGUMENT: what is wrong with the plan, and where.
        DomainError: An input cannot be read.
    """
    storage, limits = TableStorage(**arguments["storage"]), PlanLimits(**arguments["limits"])
    datasets = {name: open_dataset(given["uri"], given["version"], storage) for name, given in arguments["inputs"].items()}
    if arguments["sql"]:
        plan = plan_of_sql(arguments["sql"], {name: dataset.schema.names for name, dataset in datasets.items()}, limits)
    else:
        plan = plan_from_json(arguments["plan"])
    bound = bind(plan, {name: dataset.schema for name, dataset in datasets.items()}, limits)
    return ReadPlan(plan, bound, datasets)


def check_outputs(read: ReadPlan, steps: list[str]) -> list[str]:
    """Returns the steps that are written, with the plan's only output where none is named.

    Raises:
        InvalidPlan: INVALID_ARGUMENT: one is no output of the plan, or one of these is written nowhere.
    """
    outputs = read.plan.outputs
    for step in steps:
        if not step and len(outputs) > 1:
            raise InvalidPlan(f"an output of the job names no step, and the plan has the outputs {', '.join(outputs)}; name one of them")
        if step and step not in outputs:
            raise InvalidPlan(f"an output of the job names the step {step!r}; outputs of the plan are {', '.join(outputs)}")
    named = [step or outputs[0] for step in steps]
    for step in outputs:
        if step not in named:
            raise InvalidPlan("it is an output of the plan and written nowhere; add an output of the job, or leave it out", step=step)
    return named
