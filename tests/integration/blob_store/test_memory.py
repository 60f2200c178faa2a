"""Memory does not grow with the content, neither on the way in nor on the way out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from demo.real_servers.s3 import S3Server

MIB = 1 << 20

TRANSFER = """
import hashlib, json, resource, sys
from blob_store import open_store

url, size_mib, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
store = open_store(url, credentials=("test-access-key", "test-secret-key"))
chunk = hashlib.shake_256(b"content").digest(1 << 20)
store.open(store.put([chunk[:10]]).digest).read_all()

def chunks():
    for number in range(size_mib):
        yield number.to_bytes(8) + chunk[8:]

whole = hashlib.sha256()
for part in chunks():
    whole.update(part)
digest = "sha256:" + whole.hexdigest()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if way == "put":
    store.put(chunks(), digest)
else:
    upload_id = store.begin_upload(digest, size_mib << 20)
    store.append(upload_id, 0, chunks())
    store.complete(upload_id)
size_bytes = sum(len(part) for part in store.open(digest))
print(json.dumps({"size_bytes": size_bytes, "growth_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before}))
"""


@pytest.mark.parametrize("way", ["put", "upload"])
@pytest.mark.parametrize(("kind", "size_mib", "most_mib"), [("local", 1024, 32), ("s3", 256, 128)])
def test_a_large_content_moves_in_constant_memory(
    kind: str, size_mib: int, most_mib: int, way: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"file://{tmp_path}/blobs"
    if kind == "s3":
        server: S3Server = request.getfixturevalue("s3")
        url = server.url(f"memory-{way}")
    command = [sys.executable, "-c", TRANSFER, url, str(size_mib), way]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout)
    assert measured["size_bytes"] == size_mib * MIB
    assert measured["growth_kib"] < most_mib * 1024
