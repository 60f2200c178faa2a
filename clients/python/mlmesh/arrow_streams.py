"""Tables of Arrow, pandas, Polars and others as a stream of Arrow's IPC format."""

from __future__ import annotations

from typing import Any

from mlmesh.errors import InvalidArgument


def gives_arrow(rows: Any) -> bool:
    """Returns whether an object gives its columns as Arrow: tables of pyarrow, pandas and Polars do."""
    return hasattr(rows, "__arrow_c_stream__") or hasattr(rows, "__arrow_c_array__")


def arrow_stream(rows: Any) -> bytes:
    """Returns a table as a stream of Arrow's IPC format.

    Args:
        rows: What `gives_arrow`.

    Raises:
        mlmesh.errors.InvalidArgument: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise InvalidArgument(
            f"a {type(rows).__name__} is sent by pyarrow, which is not installed",
            reason="PYARROW_MISSING",
            hint="pip install pyarrow, or give rows as mappings",
        ) from None
    table = pa.table(rows) if hasattr(rows, "__arrow_c_stream__") else pa.Table.from_batches([pa.record_batch(rows)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data
