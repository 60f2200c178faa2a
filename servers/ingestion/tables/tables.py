"""All tables below one root."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from servers.ingestion.table_errors import InvalidTableName
from servers.ingestion.tables.dataset_table import DatasetTable
from servers.ingestion.tables.delta_log import TableLocation

_PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,126}", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


class Tables:
    """The tables of all datasets, each in ``<root>/<project>/<dataset>``.

    Args:
        root: ``file:///folder`` or ``s3://bucket/prefix``. From the settings, never from a request.
        storage_options: Of S3, as from `s3_options`; by default from the environment, as AWS tools have it.
        spool_folder: For deliveries while they are written, on a disk with room for them; the system's temporary folder by default.
        shortest_retention: The least that `DatasetTable.vacuum` leaves: longer than any write or read takes.

    Raises:
        ValueError: If the root cannot be understood.
    """

    def __init__(
        self,
        root: str,
        storage_options: Mapping[str, str] | None = None,
        *,
        spool_folder: Path | None = None,
        shortest_retention: timedelta = timedelta(hours=24),
    ) -> None:
        self._root = _checked_root(root)
        self._options = dict(storage_options or {})
        if self._root.startswith("s3://"):
            # Two writers of one version: the second one has to lose.
            self._options.setdefault("AWS_CONDITIONAL_PUT", "etag")
        self._spool_folder = spool_folder
        self._shortest_retention = shortest_retention

    def table(self, project: str, name: str) -> DatasetTable:
        """Returns the table of a dataset, whether or not it exists.

        Args:
            project: 1 to 63 lower-case letters, digits and hyphens, the first not a hyphen.
            name: 1 to 127 letters, digits, underscores and hyphens, the first a letter or digit.

        Raises:
            InvalidTableName: INVALID_ARGUMENT: a name is another one.
        """
        return DatasetTable(self._location(project, name), self._shortest_retention)

    def quarantine(self, project: str, name: str) -> TableLocation:
        """Returns where the rows lie that were left out of a dataset: ``<root>/<project>/.quarantine/<dataset>``, a name of no dataset.

        Args:
            project: As for `table`.
            name: Of the dataset.

        Raises:
            InvalidTableName: INVALID_ARGUMENT: a name is another one.
        """
        return self._location(project, name, ".quarantine/")

    def _location(self, project: str, name: str, folder: str = "") -> TableLocation:
        if not _PROJECT.fullmatch(project):
            raise InvalidTableName("project", project, "1 to 63 lower-case letters, digits and hyphens, the first not a hyphen")
        if not _DATASET.fullmatch(name):
            raise InvalidTableName("dataset", name, "1 to 127 letters, digits, underscores and hyphens, the first a letter or digit")
        return TableLocation(project, name, f"{self._root}/{project}/{folder}{name}", self._options, self._spool_folder)


def s3_options(endpoint: str | None, credentials: tuple[str, str] | None = None, *, region: str | None = None) -> dict[str, str]:
    """Returns storage options for an S3.

    Args:
        endpoint: ``https://host:port`` or ``http://host:port``; None = AWS.
        credentials: Access key and secret key; looked for where AWS tools look, by default.
        region: Of the bucket; ``us-east-1``, which most servers but AWS ignore, by default.
    """
    options = {"AWS_REGION": region or "us-east-1"}
    if endpoint is not None:
        options["AWS_ENDPOINT_URL"] = endpoint
        if endpoint.startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
    if credentials is not None:
        options["AWS_ACCESS_KEY_ID"], options["AWS_SECRET_ACCESS_KEY"] = credentials
    return options


def _checked_root(root: str) -> str:
    parts = urlsplit(root)
    path = unquote(parts.path)
    if not parts.query and not parts.fragment and ".." not in path.split("/"):
        if parts.scheme == "file" and parts.netloc in ("", "localhost") and Path(path).is_absolute():
            return path.rstrip("/")
        if parts.scheme == "s3" and _BUCKET.fullmatch(parts.netloc):
            return f"s3://{parts.netloc}/{path.strip('/')}".rstrip("/")
    raise ValueError(f"{root!r} is not a root of tables; allowed are file:///folder and s3://bucket/prefix")
