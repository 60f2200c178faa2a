"""Where a request may let the server read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from servers.ingestion.data_process.source_errors import ALLOWING_SETTING, InvalidSourceUri, SourceNotAllowed
from servers.ingestion.data_process.source_uris import FileUri, S3Uri, parsed_uri


@dataclass(frozen=True, slots=True)
class AllowedFile:
    """A file below an allowed folder, as it was when it was looked at: links are followed and `..` resolved."""

    folder: str
    """The folder, without links."""
    below: tuple[str, ...]
    """The way from there, at least the file's own name."""

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.below[-1]


class AllowedSources:
    """What `MLMESH_INGESTION_ALLOWED_SOURCES` allows.

    Args:
        entries: `file:///folder` and `s3://bucket/prefix`; everything below is allowed.

    Raises:
        ValueError: If an entry is something else. The message has its number, and not the entry.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._folders: list[str] = []
        self._prefixes: list[S3Uri] = []
        for number, entry in enumerate(entries, start=1):
            try:
                place = parsed_uri(entry)
            except InvalidSourceUri as error:
                raise ValueError(f"entry {number} of {ALLOWING_SETTING}: {error.message}") from None
            if isinstance(place, FileUri):
                self._folders.append(place.path)
            else:
                self._prefixes.append(S3Uri(place.bucket, place.key.strip("/")))

    def allowed(self, uri: str) -> AllowedFile | S3Uri:
        """Returns what a request's URI names, if that is allowed. Whether it exists plays no part.

        Args:
            uri: From a request.

        Raises:
            InvalidSourceUri: INVALID_ARGUMENT: it names no file and no object.
            SourceNotAllowed: INVALID_ARGUMENT: it is nowhere that is allowed.
        """
        named = parsed_uri(uri)
        return self._file(named) if isinstance(named, FileUri) else self._object(named)

    def _file(self, named: FileUri) -> AllowedFile:
        path = PurePath(os.path.realpath(named.path))
        for folder in map(os.path.realpath, self._folders):
            if path.is_relative_to(folder) and path != PurePath(folder):
                if named.path.endswith("/"):
                    raise InvalidSourceUri("names a folder")
                return AllowedFile(folder, path.relative_to(folder).parts)
        raise SourceNotAllowed

    def _object(self, named: S3Uri) -> S3Uri:
        for place in self._prefixes:
            if named.bucket == place.bucket and (not place.key or named.key.startswith(f"{place.key}/")):
                if not named.name:
                    raise InvalidSourceUri("names no object")
                return named
        raise SourceNotAllowed
