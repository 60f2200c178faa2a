"""A server with a lane in this process, and a peer that speaks HTTP/1.1 as it likes."""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httptools
from cryptography.hazmat.primitives.asymmetric import rsa

from servers.runtime.auth import LocalKeys, TokenVerifier
from servers.runtime.lane.frames import frame
from servers.runtime.server import Registration, Server, build_server
from servers.runtime.settings import ServerSettings
from tests.integration.runtime.lane_contract import SERVICE, LaneTestServicer, add_servicer, message

MAX_MESSAGE_BYTES = 1 << 20


@dataclass
class LaneServer:
    """A running server.

    Args:
        server: It.
        servicer: What it serves.
        path: Socket of its lane.
    """

    server: Server
    servicer: LaneTestServicer
    path: Path

    def connect(self) -> Peer:
        return Peer(self.path)

    def is_well(self) -> bool:
        """Whether the next connection is served."""
        with contextlib.closing(self.connect()) as peer:
            return bool(peer.call("One", message("Ask")(text="well")).message("Answer").text == "well")


@contextlib.contextmanager
def lane_server(**settings: Any) -> Iterator[LaneServer]:
    # Paths of sockets are short, and pytest's are not.
    folder = Path(tempfile.mkdtemp(prefix="lane-"))
    servicer = LaneTestServicer()
    key = rsa.generate_private_key(65537, 2048).public_key()
    given: dict[str, Any] = {
        "data_dir": folder,
        "drain_s": 0,
        "grace_s": 2,
        "listen": f"unix:{folder}/grpc.sock",
        "lane": f"unix:{folder}/lane.sock",
        "max_message_bytes": MAX_MESSAGE_BYTES,
    }
    server = build_server(
        ServerSettings(**(given | settings)),
        [Registration(add_servicer, servicer)],
        component="lanetest",
        verifier=TokenVerifier(LocalKeys(lambda: {"k": key}), "mlmesh", "mlmesh"),
    )
    server.start()
    try:
        yield LaneServer(server, servicer, folder / "lane.sock")
    finally:
        servicer.go_on.set()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Response:
    """What a lane has answered."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_complete: bool = False

    @property
    def grpc_status(self) -> int:
        return int(self.trailers.get("grpc-status", self.headers.get("grpc-status", "-1")))

    def messages(self, name: str) -> list[Any]:
        found, rest = [], self.body
        while rest:
            size = int.from_bytes(rest[1:5], "big")
            found.append(message(name).FromString(rest[5 : 5 + size]))
            rest = rest[5 + size :]
        return found

    def message(self, name: str) -> Any:
        (only,) = self.messages(name)
        return only


class _Reader:
    def __init__(self) -> None:
        self.response = Response()
        self._has_head = False
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        (self.response.trailers if self._has_head else self.response.headers)[name.decode()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._has_head = True
        self.response.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.response.body += body

    def on_message_complete(self) -> None:
        self.response.is_complete = True


class Peer:
    """One connection to a lane."""

    def __init__(self, path: Path, timeout_s: float = 60) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        self.socket.connect(str(path))

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Sends bytes; False where the lane has closed the connection."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def read(self) -> Response | None:
        """The next answer, complete or not; None where the lane closes the connection without one."""
        reader = _Reader()
        has_read = False
        while not reader.response.is_complete:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                return reader.response if has_read else None
            has_read = True
            reader.parser.feed_data(data)
        return reader.response

    def is_closed(self) -> bool:
        """Waits until the lane closes the connection, and says whether it did."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    def call(self, name: str, *requests: Any, headers: dict[str, str] | None = None) -> Response:
        self.send(grpc_request(name, *requests, headers=headers))
        answer = self.read()
        assert answer is not None
        return answer


def grpc_request(name: str, *requests: Any, headers: dict[str, str] | None = None, body: bytes | None = None) -> bytes:
    """A whole gRPC call as Envoy writes it."""
    if body is None:
        body = b"".join(frame(request.SerializeToString()) for request in requests)
    return grpc_head(name, headers=headers) + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


def grpc_head(name: str, *, headers: dict[str, str] | None = None, service: str = SERVICE) -> bytes:
    facts = {"host": "lane", "te": "trailers", "content-type": "application/grpc", "transfer-encoding": "chunked"} | (headers or {})
    lines = "".join(f"{key}: {value}\r\n" for key, value in facts.items())
    return f"POST /{service}/{name} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
