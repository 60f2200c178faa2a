"""From a URL in the settings to a store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from blob_store.local import LocalBlobStore
from blob_store.store import BlobStore

__all__ = ["open_store"]

_S3_OPTIONS = frozenset({"endpoint", "region", "renew_after_s"})


def open_store(url: str, *, credentials: tuple[str, str] | None = None) -> BlobStore:
    """Open the store that a URL names.

    Args:
        url: ``file:///folder`` (made where it does not exist), or ``s3://bucket/prefix`` with the options ``endpoint``
            (``http://127.0.0.1:9000``; AWS by default), ``region`` and ``renew_after_s`` (900 by default; see `S3BlobStore`) as a query.
            Comes from the settings, never from a request.
        credentials: Access key and secret key of S3. By default they are looked for where AWS tools look: the environment
            (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``), ``~/.aws/credentials``, the role of the machine. Never in the URL.

    Raises:
        ValueError: If the URL cannot be understood, or has credentials in it.
    """
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("a blob store URL has no credentials in it; they belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        if parts.netloc not in ("", "localhost") or options or not path.is_absolute():
            raise ValueError(f"{url!r} is not file:/// and an absolute path")
        return LocalBlobStore(path)
    if parts.scheme == "s3" and parts.netloc:
        if unknown := sorted(options.keys() - _S3_OPTIONS):
            raise ValueError(f"unknown options {unknown} of an S3 blob store; allowed are {sorted(_S3_OPTIONS)}")
        return _open_s3(parts.netloc, unquote(parts.path).strip("/"), options, credentials)
    raise ValueError(f"{url!r} is not a blob store; allowed are file:///folder and s3://bucket/prefix?endpoint=http://host:port")


def _open_s3(bucket: str, prefix: str, options: Mapping[str, str], credentials: tuple[str, str] | None) -> BlobStore:
    # Importing the SDK takes half a second and 25 MB, which a store in a folder need not pay.
    from blob_store.s3 import S3BlobStore, connect

    client = connect(options.get("endpoint", "https://s3.amazonaws.com"), region=options.get("region"), credentials=credentials)
    if "renew_after_s" in options:
        return S3BlobStore(client, bucket, prefix, renew_after=_seconds(options["renew_after_s"]))
    return S3BlobStore(client, bucket, prefix)


def _seconds(text: str) -> timedelta:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise ValueError(f"renew_after_s is a whole number of seconds, not {text!r}")
    return timedelta(seconds=int(text))
