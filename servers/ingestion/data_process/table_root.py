"""Where all tables are, from the setting."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class TableRoot:
    """The root of tables, and the S3 it is in."""

    url: str
    """`file:///folder` or `s3://bucket/prefix`."""
    endpoint: str
    """`http(s)://host:port`; empty = AWS, or none."""

    @classmethod
    def parsed(cls, tables_url: str) -> TableRoot:
        """Reads the setting.

        Args:
            tables_url: `file:///folder`, or `s3://bucket/prefix` with an optional `?endpoint=http://host:port`.

        Raises:
            ValueError: If it is something else. The message does not repeat it: it may have credentials in it.
        """
        parts = urlsplit(tables_url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        endpoint = options.pop("endpoint", "")
        is_endpoint = not endpoint or endpoint.startswith(("http://", "https://"))
        is_known = parts.scheme == "s3" or (parts.scheme == "file" and not parts.query)
        if not is_known or options or parts.fragment or "@" in parts.netloc or not is_endpoint or "@" in endpoint:
            raise ValueError("the URL of tables is file:///folder or s3://bucket/prefix with an optional ?endpoint=http://host:port")
        return cls(parts._replace(query="").geturl(), endpoint)

    @property
    def is_s3(self) -> bool:
        """Whether it is in an S3."""
        return self.url.startswith("s3://")
