"""Parts to one object, several at once, and objects that are only made where there is none.

The public methods of the SDK know neither: its `put_object` leaves three threads behind whenever its source raises, and takes no
``If-None-Match``. So this file, alone, calls the methods with an underscore beneath them; they are the same in every 7.x of `minio`.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice

from minio import Minio
from minio.datatypes import Part
from minio.error import S3Error

from blob_store.s3_errors import typed_s3_errors

__all__ = ["MIN_PART_BYTES", "MOST_PARTS", "abort_multipart_before", "in_parts", "put_if_absent", "put_parts"]

MIN_PART_BYTES = 5 << 20
"""S3 takes no smaller part, but for the last one."""
MOST_PARTS = 10_000
"""S3 takes no more parts of one object."""
_GROW_EVERY = 1000
"""So each thousand is one `part_bytes` larger a part, which makes 880 GiB of parts that begin with 16 MiB."""


def in_parts(chunks: Iterable[bytes], part_bytes: int) -> Iterator[bytes]:
    """Join chunks to parts of `part_bytes` (the last is what is left; later ones of many are larger)."""
    pending: list[bytes] = []
    pending_bytes = 0
    count = 0
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            room = part_bytes * (1 + count // _GROW_EVERY) - pending_bytes
            taken, view = view[:room], view[room:]
            pending.append(bytes(taken))
            pending_bytes += len(taken)
            if len(taken) == room:
                yield b"".join(pending)
                pending, pending_bytes, count = [], 0, count + 1
    if pending:
        yield b"".join(pending)


def put_parts(client: Minio, bucket: str, key: str, parts: Iterator[bytes], *, at_once: int = 3) -> None:
    """Make an object of parts. Where `parts` raises, there is no object and nothing is left behind.

    Args:
        client: Of the S3.
        bucket: Of the object.
        key: Of the object.
        parts: At least 5 MiB each, but for the last. At most ``at_once + 2`` of them are in memory.
        at_once: How many are sent at the same time.
    """
    first = list(islice(parts, 2))
    if len(first) < 2:
        content = first[0] if first else b""
        with typed_s3_errors():
            client.put_object(bucket, key, io.BytesIO(content), len(content))
        return
    with typed_s3_errors():
        upload_id = client._create_multipart_upload(bucket, key, {"Content-Type": "application/octet-stream"})
    sending: deque[Future[str]] = deque()
    etags: list[str] = []
    try:
        with typed_s3_errors(), ThreadPoolExecutor(at_once, thread_name_prefix="blob-part") as threads:
            for number, part in enumerate(chain(first, parts), start=1):
                if len(sending) == at_once:
                    etags.append(sending.popleft().result())
                sending.append(threads.submit(client._upload_part, bucket, key, part, None, upload_id, number))
            etags.extend(sent.result() for sent in sending)
            client._complete_multipart_upload(bucket, key, upload_id, [Part(number, etag) for number, etag in enumerate(etags, start=1)])
    except BaseException:
        with typed_s3_errors():
            client._abort_multipart_upload(bucket, key, upload_id)
        raise


def put_if_absent(client: Minio, bucket: str, key: str, content: bytes) -> bool:
    """Make an object where there is none with this key; return whether it was made."""
    with typed_s3_errors():
        try:
            client._put_object(bucket, key, content, {"Content-Type": "application/octet-stream", "If-None-Match": "*"})
        except S3Error as error:
            if error.code in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            raise
    return True


def abort_multipart_before(client: Minio, bucket: str, prefix: str, before_epoch_s: float) -> int:
    """Give up multipart uploads that began before a time, which are what a killed writer leaves; return how many."""
    count = 0
    with typed_s3_errors():
        for upload in list(client._list_multipart_uploads(bucket, prefix=prefix).uploads):
            if upload.initiated_time is not None and upload.initiated_time.timestamp() < before_epoch_s and upload.upload_id:
                client._abort_multipart_upload(bucket, upload.object_name, upload.upload_id)
                count += 1
    return count
