"""Whether the runs of a pipeline can compute less than everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from servers.processing.incremental.errors import NotIncremental
from servers.processing.incremental.keys import Keys
from servers.processing.incremental.running import check_appending, check_incremental
from servers.processing.job_process.reading import check_outputs, read_plan
from servers.runtime.data_process.messages import OnProgress


def judge(arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Says what is in the way of incremental runs, and what columns there will be.

    Args:
        arguments: As `read_plan`; `outputs`: steps that are written; `keys`: as `keys_of` takes them.

    Returns:
        `full_only_reason`: why each run has to compute everything, empty where not; `columns`: of each step, and whether they are numbers.

    Raises:
        InvalidPlan: INVALID_ARGUMENT: plan or keys are wrong.
    """
    read = read_plan(arguments)
    steps = check_outputs(read, arguments["outputs"])
    keys, reason = keys_of(arguments["keys"]), ""
    try:
        if keys is None:
            check_appending(read.bound)
        else:
            check_incremental(read.bound, keys)
    except NotIncremental as error:
        reason = error.message
    return {
        "full_only_reason": reason,
        "columns": {step: {field.name: _is_number(field.type) for field in read.bound.schema(step)} for step in steps},
    }


def keys_of(given: Mapping[str, Any] | None) -> Keys | None:
    """Reads keys: `columns`, and of `inputs` those where they are said; None without any."""
    return None if given is None else Keys(tuple(given["columns"]), {name: tuple(each) for name, each in given["inputs"].items()})


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
