"""Bodies that came compressed. A few bytes can inflate to gigabytes, so no more is inflated than a body may have."""

from __future__ import annotations

import zlib

from servers.serving.errors import PredictionTooLarge
from servers.serving.json_values import shown
from servers.serving.open_inference.errors import invalid

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
# `deflate` is zlib's format (RFC 9110), and what Triton's client sends.
_WINDOWS = {"gzip": _GZIP_WINDOW, "x-gzip": _GZIP_WINDOW, "deflate": zlib.MAX_WBITS}


def decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undoes `Content-Encoding`.

    Args:
        body: What came.
        encoding: Value of the header; empty = not compressed.
        max_bytes: Largest body, not compressed.

    Raises:
        InvalidInferRequest: If the encoding is unknown, or the bytes are not of it.
        PredictionTooLarge: If there is more in it than allowed.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    window = _WINDOWS.get(name)
    if window is None:
        raise invalid("content-encoding", f"expected gzip, deflate or identity; got {shown(encoding)}")
    inflating = zlib.decompressobj(window)
    try:
        inflated = inflating.decompress(body, max_bytes + 1)
    except zlib.error:
        raise invalid("body", f"the bytes are not {name}, as the header `content-encoding` says") from None
    if len(inflated) > max_bytes:
        raise PredictionTooLarge(f"the body inflates to more than {max_bytes} bytes; send fewer rows a call")
    if not inflating.eof:
        raise invalid("body", f"the {name} data end before their end; the body is cut off")
    if inflating.unused_data:
        raise invalid("body", f"{len(inflating.unused_data)} bytes follow the {name} data")
    return inflated
