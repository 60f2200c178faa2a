"""A data process: `python -P -m servers.features.data_process`, started by `processes.FeatureProcesses` and by nobody else."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from servers.features.data_process.processes import MEMORY_SETTING
from servers.runtime.data_process.conversation import Advice, Perform
from servers.runtime.data_process.messages import OnProgress
from servers.runtime.data_process.program import run

_EXTRAS = {
    "pyarrow": "data",
    "deltalake": "data",
    "duckdb": "processing",
    "lmdb": "features",
    "redis": "features",
    "psycopg": "postgresql",
}


def main() -> int:
    """Does operations until the server closes standard input; returns the exit status."""
    return run(_performer, Advice(MEMORY_SETTING, _EXTRAS))


def _performer(settings: Mapping[str, Any]) -> Perform:
    workplaces: list[Any] = []

    def perform(operation: str, arguments: Mapping[str, Any], on_progress: OnProgress) -> Any:
        # Only with the first operation, so that what the import fails with is told as its error.
        from servers.features.data_process.operations import operation_of
        from servers.features.data_process.workplace import Workplace

        if not workplaces:
            workplaces.append(Workplace(settings))
        return operation_of(operation)(workplaces[0], arguments, on_progress)

    return perform


if __name__ == "__main__":
    sys.exit(main())
