"""What every engine does."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import pyarrow as pa

from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.errors import WrongInput
from servers.processing.kernels.sql_kernel import Relation
from servers.processing.plan.binding import BoundPlan


class Engine(Protocol):
    """Runs plans. Every engine gives the same rows for the same plan and inputs."""

    def run(
        self, plan: BoundPlan, inputs: Mapping[str, Relation], cancellation: Cancellation
    ) -> AbstractContextManager[Mapping[str, pa.RecordBatchReader]]:
        """Computes the outputs of a plan while they are read.

        Args:
            plan: Bound to the inputs' schemas.
            inputs: The rows of each input; a reader is read once, whatever the plan.
            cancellation: Stops the run; may be called from any thread.

        Returns:
            A context in which each output, by the name of its step, can be read once, in any order and from one thread.
            Leaving it ends the run.

        Raises:
            WrongInput: FAILED_PRECONDITION: an input is missing or has other columns than the plan was bound to.
            DomainError: While outputs are read: what went wrong.
        """
        ...


def check_inputs(plan: BoundPlan, inputs: Mapping[str, Relation]) -> None:
    """Checks that the inputs are those that a plan was bound to.

    Raises:
        WrongInput: FAILED_PRECONDITION: one is missing or has other columns.
    """
    for name, schema in plan.sources.items():
        if name not in inputs:
            raise WrongInput(f"the input {name!r} is missing; the plan reads {', '.join(map(repr, plan.sources))}")
        given = inputs[name].schema
        if not given.equals(schema, check_metadata=False):
            different = [
                field.name
                for field in schema
                if given.get_field_index(field.name) < 0 or not given.field(field.name).type.equals(field.type)
            ]
            what = f"columns {', '.join(map(repr, different[:20]))} are" if different else "order or number of columns is"
            raise WrongInput(f"the input {name!r} has changed since the plan was bound to it: its {what} different; bind the plan again")
