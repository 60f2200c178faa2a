"""Work with rows of datasets in processes of its own, which the server starts on demand and may kill at any moment.

The server imports this package and stays small: pyarrow, deltalake and DuckDB are loaded in the processes alone. `processes` is the
server's side; a process begins in `__main__`, and what it can do is in `operations`.
"""

from servers.features.data_process.processes import FeatureProcesses
from servers.features.data_process.settings import FeatureProcessSettings

__all__ = ["FeatureProcessSettings", "FeatureProcesses"]
