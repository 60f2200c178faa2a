"""Between the contract of uploads and the domain."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import chain

from mlops.ingestion.v1 import upload_service_pb2 as pb

from servers.ingestion.uploads.errors import UploadMisused
from servers.ingestion.uploads.uploading import Upload
from servers.runtime.timestamps import timestamp


def upload_to_proto(upload: Upload) -> pb.DataUpload:
    """Gives an upload as the contract has it."""
    known = upload.known
    return pb.DataUpload(
        id=known.id,
        name=known.name,
        size_bytes=known.size_bytes,
        offset_bytes=upload.offset_bytes,
        complete=upload.is_complete,
        expire_time=timestamp(known.expire_time),
    )


def name_from_proto(name: str) -> str:
    """Reads the name of a file. Databases keep no NUL."""
    return name.replace("\0", "\N{SYMBOL FOR NULL}")


def upload_id_from_proto(upload_id: str) -> str:
    """Reads an identifier; case does not count in UUIDs."""
    try:
        return str(uuid.UUID(upload_id))
    except ValueError:
        raise UploadMisused("`id` is the UUID of an upload; BeginDataUpload gives one", field_violations=[("id", "a UUID")]) from None


def pieces_from_proto(requests: Iterator[pb.AppendDataUploadRequest]) -> tuple[pb.AppendDataUploadRequest, Iterator[bytes]]:
    """Reads the first message, which says which upload goes on, and gives the bytes of it and all others."""
    first = next(requests, None)
    if first is None:
        raise UploadMisused("the stream ended before its first message, which says which upload goes on, and from where")
    return first, (message.body.data or message.data for message in chain((first,), requests))
