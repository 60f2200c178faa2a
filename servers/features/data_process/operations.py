"""What a data process can do. What an operation needs, such as pyarrow and deltalake, is loaded with the first one of its kind.

Every operation takes and returns what JSON has.

| operation | arguments | result |
|---|---|---|
| `compare` | `uri`, `version`, `old_version`, `table_id` | the table, files that were added and removed, or why nobody knows |
| `materialize` | `uri`, `version`, `old_version`, `online_name`, `keys`, `features`, times | rows that were read, written, … |
| `drop` | `online_names` | nothing |
| `replay` | `uri`, `version`, `columns`, `request_inputs`, `on_demand` | rows, and how many differ of each on-demand feature |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from servers.features.data_process.workplace import Workplace
from servers.runtime.data_process.messages import OnProgress

Operation = Callable[[Workplace, Mapping[str, Any], OnProgress], Any]

_MODULES = {"materializing": ("compare", "drop", "materialize"), "replaying": ("replay",)}
_MODULE_OF = {operation: module for module, operations in _MODULES.items() for operation in operations}


def operation_of(name: str) -> Operation:
    """Returns an operation, by its name.

    Args:
        name: One of those above.
    """
    found: Operation = getattr(import_module(f"servers.features.data_process.{_MODULE_OF[name]}"), name)
    return found
