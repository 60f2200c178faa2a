"""The storage that tables are in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class TableStorage:
    """How the S3 of tables is reached; of no meaning for tables in a folder.

    Args:
        endpoint: `https://host:port` or `http://host:port`; empty = AWS.
        region: Of the bucket; empty = `us-east-1`, which most servers but AWS ignore.
        access_key_id: Empty = credentials are looked for where AWS tools look, as ingestion does.
        secret_access_key: Beside `access_key_id`.
    """

    endpoint: str = ""
    region: str = ""
    access_key_id: str = field(default="", repr=False)
    secret_access_key: str = field(default="", repr=False)

    def options(self) -> dict[str, str]:
        """Returns the storage options as deltalake and its file system take them; they may have credentials in them."""
        options = {"AWS_REGION": self.region or "us-east-1"}
        if self.endpoint:
            options["AWS_ENDPOINT_URL"] = self.endpoint
            if self.endpoint.startswith("http://"):
                options["AWS_ALLOW_HTTP"] = "true"
        if self.access_key_id:
            options["AWS_ACCESS_KEY_ID"], options["AWS_SECRET_ACCESS_KEY"] = self.access_key_id, self.secret_access_key
        return options


def table_path(uri: str) -> str:
    """Returns where deltalake finds a table: an absolute path, or the S3 URL.

    Args:
        uri: Of a dataset, as ingestion tells it: `file:///folder/...` or `s3://bucket/...`.

    Raises:
        ValueError: It is something else.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and Path(unquote(parts.path)).is_absolute():
        return unquote(parts.path).rstrip("/")
    if parts.scheme == "s3" and parts.netloc:
        return uri.rstrip("/")
    raise ValueError(f"{uri!r} is no table; allowed are file:///folder and s3://bucket/prefix")
