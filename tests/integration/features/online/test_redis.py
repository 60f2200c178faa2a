"""What only a Redis does: it is elsewhere, may be restarted, and has a memory that fills up."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import socketserver
import ssl
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from demo.real_servers.redis import RedisServer, redis_server
from servers.features.online import OnlineRow, OnlineStore, Written, open_online_store
from servers.features.online.errors import OnlineStoreFull, OnlineStoreMisconfigured, OnlineStoreUnavailable
from tests.integration.features.online.writer import vector_of

ROWS = [OnlineRow(b"a", vector_of(1, 1, 1)), OnlineRow(b"b", vector_of(1, 1, 2))]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="redis-") as name:
        yield Path(name)


def test_a_restart_is_survived_and_what_the_server_forgot_can_be_written_again(folder: Path) -> None:
    with redis_server(folder) as server:
        store = open_online_store(server.url, timeout_s=60)
        store.write("v", ROWS)
        server.kill()
        for call in (lambda: store.read("v", [b"a"]), lambda: store.write("v", ROWS), lambda: store.count("v"), store.check):
            with pytest.raises(OnlineStoreUnavailable, match="does not answer; try again"):
                call()
        server.start()
        # Scripts are forgotten too.
        assert store.write("v", ROWS) == Written(2, 0)
        server.kill()
        server.start()
        assert store.read("v", [b"a"]) == [None]
        server.admin.script_flush()
        assert store.remove_older("v", 0) == 0
        store.close()


def test_a_server_that_hangs_is_given_up(folder: Path) -> None:
    with redis_server(folder) as server:
        open_online_store(server.url, timeout_s=60).write("v", ROWS)
        store = open_online_store(server.url, timeout_s=0.2)
        process = int(server.admin.info("server")["process_id"])
        os.kill(process, signal.SIGSTOP)
        try:
            with pytest.raises(OnlineStoreUnavailable):
                store.read("v", [b"a"])
        finally:
            os.kill(process, signal.SIGCONT)
        # The late answer to the read before is not taken for this one's.
        assert answer_of(store, [b"b", b"a"]) == [ROWS[1].vector, ROWS[0].vector]
        store.close()


def answer_of(store: OnlineStore, keys: list[bytes]) -> list[bytes | None]:
    """Reads until there is an answer: a busy machine may miss a short time-out now and then."""
    while True:
        with contextlib.suppress(OnlineStoreUnavailable):
            return store.read("v", keys)


def test_a_full_memory_is_said_and_nothing_is_lost(folder: Path) -> None:
    with redis_server(folder, ["--maxmemory", "6mb"]) as server:
        store = open_online_store(server.url, timeout_s=60)
        store.check()
        store.write("v", ROWS)
        with pytest.raises(OnlineStoreFull, match="raise maxmemory"):
            store.write("v", (OnlineRow(b"%d" % number, vector_of(1, 1, 1, 10_000)) for number in range(2000)))
        assert store.read("v", [b"a", b"b"]) == [ROWS[0].vector, ROWS[1].vector]
        assert store.delete("v", [b"a"]) == 1
        store.drop("v")
        assert store.write("v", ROWS) == Written(2, 0)
        store.close()


def test_a_server_that_evicts_any_key_is_refused(folder: Path) -> None:
    with redis_server(folder, ["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]) as server:
        with pytest.raises(OnlineStoreMisconfigured, match="set noeviction"):
            open_online_store(server.url, timeout_s=60).check()
        server.admin.config_set("maxmemory-policy", "volatile-lru")
        open_online_store(server.url, timeout_s=60).check()


def test_a_cluster_is_refused(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        bus = str(free.getsockname()[1])
    with (
        redis_server(folder, ["--cluster-enabled", "yes", "--cluster-port", bus]) as server,
        pytest.raises(OnlineStoreMisconfigured, match="Cluster is not supported"),
    ):
        open_online_store(server.url, timeout_s=60).check()


def test_a_replica_takes_no_writes(folder: Path, redis: RedisServer) -> None:
    with redis_server(folder, ["--replicaof", "127.0.0.1", str(redis.port)]) as server:
        store = open_online_store(server.url, timeout_s=60)
        with pytest.raises(OnlineStoreUnavailable, match=r"READONLY|replica"):
            store.write("v", ROWS)
        store.close()


def test_a_password_is_asked_for_and_never_shown(folder: Path) -> None:
    with redis_server(folder) as server:
        server.admin.config_set("requirepass", "right-secret")
        address = f"127.0.0.1:{server.port}/0"
        store = open_online_store(f"redis://:right-secret@{address}", timeout_s=60)
        assert store.write("v", ROWS) == Written(2, 0)
        store.close()
        for url in (f"redis://{address}", f"redis://:wrong-secret@{address}", f"redis://user:wrong-secret@{address}"):
            with pytest.raises(OnlineStoreUnavailable, match="refuses the credentials") as caught:
                open_online_store(url, timeout_s=60).read("v", [b"a"])
            assert "secret" not in str(caught.value)


def test_tls_trusts_whom_it_is_told_to(folder: Path, redis: RedisServer, view: str) -> None:
    certificate, key = written_certificate(folder)
    # The Redis of the wheel is built without TLS: what speaks it stands before it.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with tls_relay(context, redis.port) as port:
        store = open_online_store(f"rediss://127.0.0.1:{port}/0?ca_file={certificate}", timeout_s=60)
        assert store.write(view, ROWS) == Written(2, 0)
        assert store.read(view, [b"a"]) == [ROWS[0].vector]
        store.close()
        for url in (f"rediss://127.0.0.1:{port}/0", f"rediss://localhost:{port}/0?ca_file={certificate}", f"redis://127.0.0.1:{port}/0"):
            with pytest.raises(OnlineStoreUnavailable):
                open_online_store(url, timeout_s=1).read(view, [b"a"])


@contextlib.contextmanager
def tls_relay(context: ssl.SSLContext, target_port: int) -> Iterator[int]:
    """Runs a server that takes TLS off, and gives its port."""

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as client,
                socket.create_connection(("127.0.0.1", target_port)) as target,
            ):
                back = threading.Thread(target=copied, args=(target, client), daemon=True)
                back.start()
                copied(client, target)
                target.shutdown(socket.SHUT_RDWR)
                back.join()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def copied(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)


def written_certificate(folder: Path) -> tuple[Path, Path]:
    """Writes a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "online store")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, serialization.NoEncryption()))
    return paths
