"""A real MariaDB for tests, from the system's package `mariadb-server`; one process, reached over a Unix socket."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class MariadbServer:
    """A running MariaDB."""

    socket: Path

    def new_database(self) -> str:
        """Return the URL of a database that does not exist yet; `sql_engine.connect` creates it."""
        return f"mariadb://root@localhost/test_{uuid.uuid4().hex}?unix_socket={self.socket}"


@contextlib.contextmanager
def mariadb_server(folder: Path, *, deadline_s: float = 60) -> Iterator[MariadbServer]:
    """Run a MariaDB as long as the block runs.

    Args:
        folder: For its data and its socket. Its path has to be short: a socket's path has at most 107 bytes.
        deadline_s: How long it may take to answer.
    """
    daemon = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert daemon is not None, "mariadbd is missing: apt-get install mariadb-server"
    folder.mkdir(parents=True, exist_ok=True)
    data, socket, log = folder / "data", folder / "socket", folder / "mariadb.log"
    user = ["--user=root"] if os.geteuid() == 0 else []
    install = [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        *user,
    ]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    command = [daemon, "--no-defaults", f"--datadir={data}", f"--socket={socket}", f"--pid-file={folder}/pid", "--skip-networking", *user]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_ready(socket, process, log, time.monotonic() + deadline_s)
        yield MariadbServer(socket)
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(socket: Path, process: subprocess.Popen[bytes], log: Path, deadline: float) -> None:
    # The engines' venv collects these fixtures, too, and has no driver.
    import pymysql

    while True:
        assert process.poll() is None, f"mariadbd ended: {log.read_text()[-2000:]}"
        with contextlib.suppress(pymysql.err.OperationalError):
            pymysql.connect(unix_socket=str(socket), user="root").close()
            return
        assert time.monotonic() < deadline, f"mariadbd is not ready: {log.read_text()[-2000:]}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
