"""Where sources and tables of a server lie: in folders, or in an S3. What a test finds there is found without the server's code."""

from __future__ import annotations

import io
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import pyarrow as pa
from deltalake import DeltaTable

from blob_store.s3 import connect
from demo.real_servers.s3 import S3Server


class Place(Protocol):
    """Where sources and tables lie."""

    tables_url: str
    """Setting of the server."""
    sources_url: str
    """What the server allows."""
    s3_endpoint: str
    """Of sources."""

    def put(self, name: str, data: bytes) -> str:
        """Keeps a source and returns its URI."""
        ...

    def table(self, dataset: str, project: str = "default") -> DeltaTable:
        """The table of a dataset."""
        ...

    def table_files(self) -> dict[str, int]:
        """All files below the root of tables, with their sizes."""
        ...


class FolderPlace:
    """Folders of this machine.

    Args:
        folder: For all of them.
    """

    s3_endpoint = ""

    def __init__(self, folder: Path) -> None:
        self.sources, self.tables = folder / "landing", folder / "tables of all"
        self.sources.mkdir(parents=True)
        self.sources_url, self.tables_url = self.sources.as_uri(), self.tables.as_uri()

    def put(self, name: str, data: bytes) -> str:
        path = self.sources / name
        path.write_bytes(data)
        return path.as_uri()

    def table(self, dataset: str, project: str = "default") -> DeltaTable:
        return DeltaTable(self.tables / project / dataset)

    def table_files(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for path in (Path(folder, name) for folder, _, names in os.walk(self.tables) for name in names):
            with suppress(FileNotFoundError):  # a file has another name until it is whole
                sizes[str(path.relative_to(self.tables))] = path.stat().st_size
        return sizes


class S3Place:
    """A place of its own in an S3.

    Args:
        server: The S3.
        endpoint: Where the server under test finds its sources; by default where they are.
    """

    def __init__(self, server: S3Server, endpoint: str = "") -> None:
        self._server = server
        self._client = connect(server.endpoint, credentials=server.credentials)
        self._prefix = f"ingestion/{uuid.uuid4().hex}"
        self.s3_endpoint = endpoint or server.endpoint
        self.sources_url = f"s3://{server.bucket}/{self._prefix}/landing"
        self.tables_url = server.url(f"{self._prefix}/tables")

    def put(self, name: str, data: bytes) -> str:
        self._client.put_object(self._server.bucket, f"{self._prefix}/landing/{name}", io.BytesIO(data), len(data))
        return f"{self.sources_url}/{quote(name)}"

    def table(self, dataset: str, project: str = "default") -> DeltaTable:
        options = {
            "AWS_ENDPOINT_URL": self._server.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self._server.access_key,
            "AWS_SECRET_ACCESS_KEY": self._server.secret_key,
        }
        return DeltaTable(f"s3://{self._server.bucket}/{self._prefix}/tables/{project}/{dataset}", storage_options=options)

    def table_files(self) -> dict[str, int]:
        root = f"{self._prefix}/tables/"
        found: list[Any] = list(self._client.list_objects(self._server.bucket, prefix=root, recursive=True))
        return {each.object_name.removeprefix(root): each.size for each in found}


def rows_of(table: DeltaTable) -> pa.Table:
    """The rows of a table, as pyarrow reads them."""
    return table.to_pyarrow_table()
