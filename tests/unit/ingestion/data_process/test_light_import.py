"""The server's side stays small."""

from __future__ import annotations

import subprocess
import sys

import pytest

from servers.ingestion.data_process import operations

HEAVY = ("pyarrow", "polars", "deltalake", "numpy", "minio", "fastavro")


def test_the_server_loads_no_library_for_data() -> None:
    program = "import sys, servers.ingestion.data_process; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "servers" in loaded
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize("operation", ["ingest", "append", "consume", "describe", "list_quarantined", "change_schema", "delete"])
def test_an_operation_loads_what_it_needs_and_no_more(operation: str) -> None:
    program = (
        f"import sys; from servers.ingestion.data_process.operations import operation_of; operation_of({operation!r}); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "deltalake" in loaded
    assert not {"polars", "pandas", "pyarrow.dataset", "sqlalchemy", "minio", "fastavro", "confluent_kafka"} & set(loaded)


def test_every_operation_that_is_named_is_there() -> None:
    for name in operations._MODULE_OF:
        assert callable(operations.operation_of(name))
        assert f"| `{name}` |" in (operations.__doc__ or "")


def test_a_process_talks_to_its_server_without_grpc_and_libraries_for_data() -> None:
    program = "import sys, servers.runtime.data_process.conversation; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not {*HEAVY, "grpc"} & set(loaded)
