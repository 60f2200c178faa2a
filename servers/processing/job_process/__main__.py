"""A process that looks at plans or runs one: `python -P -m servers.processing.job_process`, started by `processes` and by nobody else."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from servers.processing.job_process.output_lines import LINE_MARK, open_output
from servers.runtime.data_process.conversation import Advice, Perform
from servers.runtime.data_process.messages import OnProgress
from servers.runtime.data_process.program import run

_EXTRAS = dict.fromkeys(("duckdb", "pyarrow", "numpy"), "processing") | {"deltalake": "data"}


def main() -> int:
    """Does operations until the server closes standard input; returns the exit status."""
    return run(_performer, Advice("resources.memory_mib of the job", _EXTRAS))


def _performer(settings: Mapping[str, Any]) -> Perform:
    if LINE_MARK in settings:
        open_output(settings[LINE_MARK])

    def perform(operation: str, arguments: Mapping[str, Any], on_progress: OnProgress) -> Any:
        # Only with the first operation, so that what the import fails with is told as its error.
        from servers.processing.job_process.operations import OPERATIONS

        return OPERATIONS[operation](arguments, on_progress)

    return perform


if __name__ == "__main__":
    sys.exit(main())
