"""Work with data in processes of its own, which the server starts on demand and may kill at any moment.

The server imports this package and stays small: pyarrow, Polars and deltalake are loaded in the processes alone. `processes` is the
server's side; a process begins in `__main__`, and what it can do is in `operations`. What is not of ingestion is in
`servers.runtime.data_process`.
"""

from servers.ingestion.data_process.processes import DataProcesses
from servers.ingestion.data_process.settings import DataProcessSettings
from servers.runtime.data_process.errors import DataProcessDied, DataProcessOutOfMemory, DataProcessUnavailable, OperationFailed

__all__ = [
    "DataProcessDied",
    "DataProcessOutOfMemory",
    "DataProcessSettings",
    "DataProcessUnavailable",
    "DataProcesses",
    "OperationFailed",
]
