"""What an upload over HTTP makes of a peer, whatever the peer does."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.rpc import code_pb2
from mlmesh import errors
from mlmesh.addresses import parse_address
from mlmesh.files import Source
from mlmesh.http_uploads import PATHS, HttpNotSpoken, HttpUpload, HttpUploads, error_of_json
from mlmesh.outgoing import Outgoing
from mlops.ingestion.v1 import upload_service_pb2
from mlops.registry.v1 import registry_service_pb2

MIB = 1024 * 1024
SIZE = 64 * MIB
"""More than the system buffers between two sockets."""

Play = Callable[[socket.socket], None]
METHOD = registry_service_pb2.DESCRIPTOR.services_by_name["ModelRegistryService"].methods_by_name["UploadBlob"]


@pytest.fixture(scope="module")
def outgoing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outgoing]:
    path = tmp_path_factory.mktemp("sent") / "weights.bin"
    with path.open("wb") as file:
        file.truncate(SIZE)
    sending = Outgoing(Source(path, path.name, "", SIZE))
    sending.open()
    yield sending
    sending.close()


@pytest.fixture
def peer() -> Iterator[Callable[[Play], HttpUploads]]:
    """Makes a peer that plays something with each connection."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def make(play: Play) -> HttpUploads:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(EOFError):
                    play(connection)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return HttpUploads(parse_address(f"http://127.0.0.1:{listener.getsockname()[1]}"), None)

    yield make
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


def head_of(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += received_of(connection, 65536)
    return received


def received_of(connection: socket.socket, most: int) -> bytes:
    """Takes what has come. A client whose deadline strikes may be gone before it has sent all."""
    if not (data := connection.recv(most)):
        raise EOFError
    return data


def read_all(connection: socket.socket) -> tuple[str, int]:
    """Reads a whole request; returns its head and how many bytes its body had."""
    head, _, begun = head_of(connection).partition(b"\r\n\r\n")
    (length,) = (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    count = len(begun)
    while count < length:
        count += len(received_of(connection, MIB))
    return head.decode(), count


def reply(status: int, body: object, *more: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = (f"HTTP/1.1 {status} Whatever", f"content-length: {len(content)}", *more, "", "")
    return "\r\n".join(lines).encode() + content


def status(code: int, message: str, reason: str) -> dict[str, object]:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "mlmesh", "metadata": {"current_offset": "7"}}
    return {"code": code, "message": message, "details": [{"@type": "type.googleapis.com/of.the.Future", "x": 1}, info]}


def hang_up_hard(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def attempt(uploads: HttpUploads, *, offset: int = 0, timeout_s: float = 60.0, project: str = "") -> HttpUpload:
    upload = registry_service_pb2.Upload(id="an/id", size_bytes=SIZE, offset_bytes=offset)
    return uploads.attempt(upload, project, (("authorization", "Bearer t"), ("traceparent", "00-1-2-03")), timeout_s)


def send(uploads: HttpUploads, outgoing: Outgoing, *, offset: int = 0, timeout_s: float = 60.0, project: str = "") -> object:
    sending = attempt(uploads, offset=offset, timeout_s=timeout_s, project=project)
    try:
        sending.open()
        while sent := sending.send_piece(outgoing, offset):
            offset += sent
        return sending.answer()
    finally:
        sending.close()


def test_the_paths_are_those_of_the_contracts() -> None:
    from google.api import annotations_pb2

    methods = (METHOD, upload_service_pb2.DESCRIPTOR.services_by_name["DataUploadService"].methods_by_name["AppendDataUpload"])
    for method in methods:
        path = method.GetOptions().Extensions[annotations_pb2.http].put
        assert path.replace("{id}", "{upload_id}") == PATHS[method.output_type.full_name]


def test_the_body_is_the_bytes_and_the_answer_an_upload(peer: Callable[[Play], HttpUploads], outgoing: Outgoing) -> None:
    seen: list[tuple[str, int]] = []

    def play(connection: socket.socket) -> None:
        seen.append(read_all(connection))
        connection.sendall(reply(200, {"id": "an/id", "size_bytes": str(SIZE), "offset_bytes": str(SIZE), "of_the_future": 1}))

    answer = send(peer(play), outgoing, offset=SIZE - 3 * MIB - 1, project="research")
    assert answer == registry_service_pb2.Upload(id="an/id", size_bytes=SIZE, offset_bytes=SIZE)
    ((head, count),) = seen
    assert count == 3 * MIB + 1
    assert head.startswith(f"PUT /api/v1/uploads/an%2Fid?offset_bytes={SIZE - 3 * MIB - 1}&project=research HTTP/1.1\r\n")
    assert {"authorization: Bearer t", "traceparent: 00-1-2-03", "content-type: application/octet-stream"} <= set(head.split("\r\n"))


def test_a_refusal_is_read_although_the_peer_reads_no_further(peer: Callable[[Play], HttpUploads], outgoing: Outgoing) -> None:
    may_go = threading.Event()

    def play(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(reply(403, status(code_pb2.PERMISSION_DENIED, "you may not", "PERMISSION_DENIED"), "x-request-id: r-1"))
        may_go.wait(60)

    uploads = peer(play)
    with pytest.raises(errors.PermissionDenied, match="you may not") as caught:
        send(uploads, outgoing)
    may_go.set()
    assert (caught.value.reason, caught.value.request_id) == ("PERMISSION_DENIED", "r-1")
    assert uploads.is_worth(SIZE)


def test_a_refusal_is_read_although_the_peer_has_hung_up(peer: Callable[[Play], HttpUploads], outgoing: Outgoing) -> None:
    def play(connection: socket.socket) -> None:
        head_of(connection)
        hang_up_hard(connection)
        connection.sendall(reply(400, status(code_pb2.FAILED_PRECONDITION, "the upload stands at 7", "UPLOAD_OFFSET_MISMATCH")))

    with pytest.raises(errors.FailedPrecondition) as caught:
        send(peer(play), outgoing)
    assert caught.value.metadata == {"current_offset": "7"}


def http_2(connection: socket.socket) -> None:
    connection.sendall(bytes.fromhex("00001804000000000000040040000000050040000000060000400000000300000064"))


def another_answer(connection: socket.socket) -> None:
    read_all(connection)
    connection.sendall(reply(200, b"<html>"))


def older_gateway(connection: socket.socket) -> None:
    head_of(connection)
    connection.sendall(reply(404, status(code_pb2.NOT_FOUND, "There is no such path.", "ROUTE_NOT_FOUND")))


def a_proxy_with_limits(connection: socket.socket) -> None:
    head_of(connection)
    connection.sendall(reply(413, b"<html>"))


@pytest.mark.parametrize("play", [http_2, another_answer, older_gateway, a_proxy_with_limits])
def test_a_peer_that_does_not_know_this_way_is_remembered(peer: Callable[[Play], HttpUploads], outgoing: Outgoing, play: Play) -> None:
    uploads = peer(play)
    assert uploads.is_worth(SIZE)
    with pytest.raises(HttpNotSpoken):
        send(uploads, outgoing)
    assert not uploads.is_worth(SIZE)


def breaks_off(connection: socket.socket) -> None:
    connection.recv(3 * MIB)
    hang_up_hard(connection)


def ends_without_a_word(connection: socket.socket) -> None:
    read_all(connection)


def gateway_without_its_server(connection: socket.socket) -> None:
    head_of(connection)
    connection.sendall(reply(503, b"no healthy upstream"))


@pytest.mark.parametrize("play", [breaks_off, ends_without_a_word, gateway_without_its_server])
def test_a_network_that_fails_is_unavailable(peer: Callable[[Play], HttpUploads], outgoing: Outgoing, play: Play) -> None:
    uploads = peer(play)
    with pytest.raises(errors.Unavailable) as caught:
        send(uploads, outgoing)
    assert caught.value.reason == "UPLOAD_BROKEN_OFF"
    assert uploads.is_worth(SIZE)


def test_a_peer_that_never_said_a_word_is_tried_by_grpc_in_the_end(peer: Callable[[Play], HttpUploads], outgoing: Outgoing) -> None:
    uploads = peer(ends_without_a_word)
    for is_still_worth in (True, False):
        with pytest.raises(errors.Unavailable):
            send(uploads, outgoing)
        assert uploads.is_worth(SIZE) is is_still_worth


def test_a_peer_that_has_answered_once_may_break_off_often(peer: Callable[[Play], HttpUploads], outgoing: Outgoing) -> None:
    plays: list[Play] = [gateway_without_its_server, *[ends_without_a_word] * 3]
    uploads = peer(lambda connection: plays.pop(0)(connection))
    for _ in range(4):
        with pytest.raises(errors.Unavailable):
            send(uploads, outgoing)
    assert uploads.is_worth(SIZE)


def test_nobody_there_is_unavailable(outgoing: Outgoing) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = parse_address(f"http://127.0.0.1:{closed.getsockname()[1]}")
    with pytest.raises(errors.Unavailable, match="cannot be reached"):
        send(HttpUploads(address, None), outgoing)


def test_a_peer_that_takes_nothing_meets_the_deadline(peer: Callable[[Play], HttpUploads], outgoing: Outgoing) -> None:
    may_go = threading.Event()
    with pytest.raises(errors.DeadlineExceeded):
        send(peer(lambda _: may_go.wait(60) and None), outgoing, timeout_s=0.2)
    may_go.set()


def test_a_peer_that_takes_all_and_says_nothing_meets_the_deadline(peer: Callable[[Play], HttpUploads], outgoing: Outgoing) -> None:
    may_go = threading.Event()

    def play(connection: socket.socket) -> None:
        read_all(connection)
        may_go.wait(60)

    with pytest.raises(errors.DeadlineExceeded):
        send(peer(play), outgoing, offset=SIZE - 1, timeout_s=0.5)
    may_go.set()


def test_a_deadline_that_is_over_sends_nothing(outgoing: Outgoing) -> None:
    with pytest.raises(errors.DeadlineExceeded):
        send(HttpUploads(parse_address("http://127.0.0.1:1"), None), outgoing, timeout_s=0)


def test_closing_wakes_a_thread_that_sends(peer: Callable[[Play], HttpUploads], outgoing: Outgoing) -> None:
    may_go, has_begun = threading.Event(), threading.Event()

    def play(connection: socket.socket) -> None:
        head_of(connection)
        has_begun.set()
        may_go.wait(60)

    sending = attempt(peer(play))
    sending.open()
    offset = 0

    def send_all() -> None:
        nonlocal offset
        while sent := sending.send_piece(outgoing, offset):
            offset += sent

    thread = threading.Thread(target=send_all)
    thread.start()
    assert has_begun.wait(60)
    sending.close()
    thread.join(60)
    assert not thread.is_alive()
    assert offset < SIZE
    may_go.set()


def test_a_file_that_became_shorter_breaks_the_request(peer: Callable[[Play], HttpUploads], tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(2 * MIB))
    cut = Outgoing(Source(path, path.name, "", SIZE))
    cut.open()
    has_ended: list[bytes] = []

    def play(connection: socket.socket) -> None:
        while connection.recv(MIB):
            pass
        has_ended.append(b"")

    with pytest.raises(errors.InvalidArgument, match="was cut to"):
        send(peer(play), cut)
    cut.close()


class SecurePeer:
    """Plays behind TLS.

    Args:
        folder: Where its certificate is put.
        protocols: What it offers by ALPN.
    """

    def __init__(self, folder: Path, *protocols: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.file = folder / "peer.pem"
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(self.file)
        self._context.set_alpn_protocols(protocols)

    def playing(self, play: Play) -> Play:
        def secure_play(connection: socket.socket) -> None:
            # A handshake that fails, and a client that hangs up, are what some tests are about.
            with contextlib.suppress(OSError), self._context.wrap_socket(connection, server_side=True) as secure:
                play(secure)

        return secure_play

    def uploads(self, peer: HttpUploads, ca_file: Path | None) -> HttpUploads:
        return HttpUploads(parse_address(peer._address.url.replace("http:", "https:")), ca_file)


def accepts(connection: socket.socket) -> None:
    read_all(connection)
    connection.sendall(reply(200, {"id": "an/id", "offset_bytes": str(SIZE)}))


def test_under_tls_the_authorities_of_the_connection_count(peer: Callable[[Play], HttpUploads], outgoing: Outgoing, tmp_path: Path) -> None:
    secure = SecurePeer(tmp_path, "h2", "http/1.1")
    plain = peer(secure.playing(accepts))
    assert send(secure.uploads(plain, secure.file), outgoing) == registry_service_pb2.Upload(id="an/id", offset_bytes=SIZE)
    with pytest.raises(errors.Unavailable, match=r"cannot be reached: .*certificate verify failed"):
        send(secure.uploads(plain, None), outgoing)


def test_a_refusal_is_read_under_tls_too(peer: Callable[[Play], HttpUploads], outgoing: Outgoing, tmp_path: Path) -> None:
    may_go = threading.Event()

    def refuses(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(reply(403, status(code_pb2.PERMISSION_DENIED, "you may not", "PERMISSION_DENIED")))
        may_go.wait(60)

    secure = SecurePeer(tmp_path, "http/1.1")
    with pytest.raises(errors.PermissionDenied, match="you may not"):
        send(secure.uploads(peer(secure.playing(refuses)), secure.file), outgoing)
    may_go.set()


def test_a_peer_that_agrees_on_http_2_only_is_left_to_grpc(peer: Callable[[Play], HttpUploads], outgoing: Outgoing, tmp_path: Path) -> None:
    def http_2_only(connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        if connection.selected_alpn_protocol() != "h2":
            return  # as gRPC does, whose handshake succeeds first
        http_2(connection)

    secure = SecurePeer(tmp_path, "h2")
    uploads = secure.uploads(peer(secure.playing(http_2_only)), secure.file)
    attempts = 0
    while uploads.is_worth(SIZE):
        attempts += 1
        with pytest.raises((HttpNotSpoken, errors.Unavailable)):
            send(uploads, outgoing)
    assert attempts <= 2


@pytest.mark.parametrize("address", ["unix:/run/registry.sock"])
def test_a_server_inside_of_a_mesh_is_not_tried(address: str) -> None:
    assert not HttpUploads(parse_address(address), None).is_worth(SIZE)


def test_small_files_go_over_the_connection_that_is_there() -> None:
    assert not HttpUploads(parse_address("http://127.0.0.1:1"), None).is_worth(MIB - 1)


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_tried"),
    [
        ("http://127.0.0.1:8080", "", True),
        ("http://localhost:8080", "", True),
        ("http://mesh.example.org", "", False),
        ("https://mesh.example.org", "", False),
        ("http://mesh.example.org", "example.org", True),
    ],
)
def test_behind_a_proxy_grpc_is_left_to_find_the_way(monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str, is_tried: bool) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert HttpUploads(parse_address(url), None).is_worth(SIZE) is is_tried


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"code": "x", "message": ""}', b'{"code": 0, "message": "fine"}', b"3"])
def test_what_is_no_status_is_no_error(body: bytes) -> None:
    assert error_of_json(body) is None
