"""What such a process can do. Loads DuckDB, pyarrow and deltalake, so the server never imports it.

Every operation takes and returns what JSON has. What they share as arguments is in `reading.read_plan`.

| operation | arguments besides | result |
|---|---|---|
| `check` | `suites` | the plan, its outputs, an empty file of each output, and of each input of `suites` |
| `explain` | | the plan, its steps with columns and estimates, a text |
| `compute` | `engine`, `engine_settings`, `outputs`, `folder`, `most_output_bytes` | rows and file of each output |
| `judge` | `keys` | what is in the way of incremental runs, columns of each output |
| `increment` | those of `compute`, `keys`, `old_versions`, `old_outputs` | the same, and how they are written |
| `compare` | those of `compute`, `there`, `relative_tolerance` | which rows are different |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from servers.processing.job_process.checking import check
from servers.processing.job_process.comparing import compare
from servers.processing.job_process.computing import compute
from servers.processing.job_process.explaining import explain
from servers.processing.job_process.incrementing import increment
from servers.processing.job_process.judging import judge
from servers.runtime.data_process.messages import OnProgress

OPERATIONS: Mapping[str, Callable[[Mapping[str, Any], OnProgress], Any]] = {
    "check": check,
    "explain": explain,
    "compute": compute,
    "judge": judge,
    "increment": increment,
    "compare": compare,
}
"""Operations by their names."""
