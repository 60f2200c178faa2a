"""Where the bytes of uploads lie."""

from __future__ import annotations

from urllib.parse import urlsplit

_FOLDER = "data-uploads"


def uploads_url(blob_url: str) -> str:
    """Returns the URL of a blob store of uploads alone, below that of the mesh: models have a garbage collection of their own.

    Args:
        blob_url: `file:///folder` or `s3://bucket/prefix?endpoint=…`.
    """
    parts = urlsplit(blob_url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/{_FOLDER}").geturl()
