"""What serves loads neither DuckDB nor pyarrow: they take memory that an idle server has not."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import servers.features.serving.servicer
import servers.features.on_demand_expressions
print([name for name in ("duckdb", "pyarrow", "deltalake", "polars") if name in sys.modules])
"""


def test_serving_is_light_until_it_is_pushed_to() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
