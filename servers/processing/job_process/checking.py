"""Whether a job can be run, without its rows."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from servers.processing.job_process.reading import check_outputs, read_plan
from servers.processing.plan.errors import UnsupportedType, shown
from servers.processing.plan.plan_json import plan_to_json
from servers.runtime.data_process.messages import OnProgress


def check(arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Binds a plan, and says what columns each output will have.

    Args:
        arguments: As `read_plan`; `outputs`: steps that are written; `suites`: names of inputs whose columns are wanted.

    Returns:
        `plan` as JSON; of each output `step`, `columns` and an empty Parquet `file` in base64; such files of `inputs` by name.

    Raises:
        InvalidPlan: INVALID_ARGUMENT.
    """
    read = read_plan(arguments)
    steps = check_outputs(read, arguments["outputs"])
    return {
        "plan": plan_to_json(read.plan),
        "outputs": [
            {"step": step, "columns": read.bound.schema(step).names, "file": _empty_file(read.bound.schema(step), step)} for step in steps
        ],
        "inputs": {name: _empty_file(read.datasets[name].schema, None) for name in arguments["suites"]},
    }


def _empty_file(schema: pa.Schema, step: str | None) -> str:
    file = io.BytesIO()
    try:
        pq.write_table(schema.empty_table(), file)
    except pa.ArrowException:
        raise _not_writable(schema, step) from None
    return base64.b64encode(file.getvalue()).decode()


def _not_writable(schema: pa.Schema, step: str | None) -> UnsupportedType:
    for field in schema:
        try:
            pq.write_table(pa.schema([field]).empty_table(), io.BytesIO())
        except pa.ArrowException:
            return UnsupportedType(
                f"column {shown(field.name)} is {field.type}, which no dataset holds; cast it, to VARCHAR for example", step=step
            )
    return UnsupportedType("its columns cannot be written together", step=step)
