"""URIs of sources, as text: what they name, whether or not it is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from servers.ingestion.data_process.source_errors import InvalidSourceUri

_MOST_CHARACTERS = 4096
_MOST_KEY_BYTES = 1024
_URI = re.compile(r"(?P<scheme>file|s3)://(?P<authority>[^/]*)(?P<path>/.*)?", re.ASCII | re.DOTALL)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
# `urllib.parse.urlsplit` drops some of these without a word, so that what was checked is not what is opened.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\?#]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class FileUri:
    """A file on the server's machine."""

    path: str
    """Absolute; `..` and links are still in it."""


@dataclass(frozen=True, slots=True)
class S3Uri:
    """An object, or with an empty key or one that ends in a slash, a place for objects."""

    bucket: str
    key: str

    @property
    def name(self) -> str:
        """What comes after the last slash."""
        return self.key.rpartition("/")[2]


def parsed_uri(uri: str) -> FileUri | S3Uri:
    """Reads a URI. What is percent-encoded is decoded once, for S3 as well.

    Args:
        uri: `file:///folder/file` or `s3://bucket/key`.

    Raises:
        InvalidSourceUri: INVALID_ARGUMENT: if it is anything else.
    """
    if len(uri) > _MOST_CHARACTERS:
        raise InvalidSourceUri(f"is longer than {_MOST_CHARACTERS} characters")
    if _FORBIDDEN.search(uri):
        raise InvalidSourceUri("has a query, a fragment, a backslash, white space or a control character in it")
    match = _URI.fullmatch(uri)
    if match is None:
        raise InvalidSourceUri("is of another form")
    authority = match["authority"]
    if "@" in authority:
        raise InvalidSourceUri("has credentials in it")
    if _BROKEN_ESCAPE.search(uri):
        raise InvalidSourceUri("has a percent sign that no two hexadecimal digits follow")
    try:
        uri.encode()
        path = unquote(match["path"] or "/", errors="strict")
    except UnicodeError:
        raise InvalidSourceUri("is not UTF-8") from None
    if "\0" in path:
        raise InvalidSourceUri("has a NUL character in it")
    if match["scheme"] == "file":
        if authority not in ("", "localhost"):
            raise InvalidSourceUri("names another machine")
        return FileUri(path)
    return _s3_uri(authority, path[1:])


def _s3_uri(bucket: str, key: str) -> S3Uri:
    if not _BUCKET.fullmatch(bucket):
        raise InvalidSourceUri("has no name of a bucket")
    if len(key.encode()) > _MOST_KEY_BYTES:
        raise InvalidSourceUri(f"has a key of more than {_MOST_KEY_BYTES} bytes")
    # Clients and proxies of HTTP take these away, and so would ask for another key than the one that was checked.
    if any(segment in (".", "..") for segment in key.split("/")):
        raise InvalidSourceUri("has a key with `.` or `..` in it")
    return S3Uri(bucket, key)
