"""Sketches as bytes: facts as JSON, then arrays as they are, all of it compressed and with a checksum.

Nothing of it is ever executed, and what is damaged is noticed before a library reads it.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from servers.ingestion.profiles.sketches.errors import SketchUnreadable

_MAGIC = b"MLSK"
_VERSION = 1
_HEAD = struct.Struct("<4sHII")
"""Magic, version, CRC-32 and size of what was compressed."""
_PART = struct.Struct("<I")
_LARGEST_BYTES = 256 << 20


def packed(facts: Mapping[str, Any], parts: Sequence[bytes]) -> bytes:
    """Returns facts and arrays as bytes.

    Args:
        facts: What `value_of_json` and JSON can hold.
        parts: The arrays.
    """
    pieces = [json.dumps(facts, separators=(",", ":")).encode(), *parts]
    body = b"".join(piece for part in pieces for piece in (_PART.pack(len(part)), part))
    return _HEAD.pack(_MAGIC, _VERSION, zlib.crc32(body), len(body)) + zlib.compress(body, 1)


def unpacked(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Returns the facts and the arrays.

    Raises:
        SketchUnreadable: The bytes are something else, or damaged.
    """
    if len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise SketchUnreadable("the bytes are no sketch")
    _, version, checksum, size = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise SketchUnreadable(f"the sketch is of version {version}, and this program knows {_VERSION}")
    if size > _LARGEST_BYTES:
        raise SketchUnreadable(f"the sketch has {size:,} bytes; at most {_LARGEST_BYTES:,} are read")
    try:
        stream = zlib.decompressobj()
        body = stream.decompress(data[_HEAD.size :], size + 1)
    except zlib.error as error:
        raise SketchUnreadable(f"the sketch is damaged ({error})") from error
    if not stream.eof or len(body) != size or zlib.crc32(body) != checksum:
        raise SketchUnreadable("the sketch is damaged")
    parts, place = [], 0
    while place < size:
        (length,) = _PART.unpack_from(body, place)
        place += _PART.size
        parts.append(body[place : place + length])
        place += length
    return json.loads(parts[0]), parts[1:]


def json_of_value(value: Any) -> Any:
    """Returns a kept value as JSON: what JSON does not have as an object of one entry."""
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    return value


def value_of_json(value: Any) -> Any:
    """Returns the kept value that `json_of_value` wrote."""
    if isinstance(value, dict):
        return Decimal(value["decimal"]) if "decimal" in value else base64.b64decode(value["bytes"])
    return value
