"""Bytes of uploads as the plain body of an HTTP/1.1 request, which costs the least on both sides (ADR 43).

Everything here blocks: an event loop runs it beside itself, a piece at a time.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message
from google.rpc import status_pb2

from mlmesh.addresses import Address
from mlmesh.channels import is_on_this_machine
from mlmesh.errors import DeadlineExceeded, MeshError, Unavailable
from mlmesh.outgoing import Pieces
from mlmesh.statuses import error_of_status

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPConnection, HTTPResponse
    from io import BufferedReader

    from mlmesh.aio.calls import Metadata

PATHS = {
    "mlops.registry.v1.Upload": "/api/v1/uploads/{upload_id}",
    "mlops.ingestion.v1.DataUpload": "/api/v1/data/uploads/{upload_id}",
}
"""Where the contracts take the bytes of uploads, by the message that says where one stands."""

_LEAST_BYTES = 1024 * 1024
"""Less goes over the channel that is open already: to open a connection would cost more than it saves."""
_CONNECT_S = 20.0
_STALL_S = 60.0
"""Longest time without a single byte taken by the peer."""
_LAST_WORDS_S = 5.0
"""How long a peer that closed the connection may take to have said why."""
_HTTP = b"HTTP/"
_MOST_ANSWER_BYTES = 1024 * 1024
_MOST_SILENT = 2
"""So many attempts may break off without an answer before a peer that never gave one counts as not speaking HTTP/1.1."""
# As the options of the channel: finds out within 30 s that the network is gone, while the answer is waited for.
_KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")


class Upload(Protocol):
    """What messages say of an upload."""

    DESCRIPTOR: Any
    id: str
    size_bytes: int
    offset_bytes: int


_Upload = TypeVar("_Upload", bound=Upload)


class HttpNotSpoken(Exception):
    """The peer does not take uploads over HTTP/1.1: a server inside a mesh, or a gateway that is older. gRPC is the way then."""


class HttpUploads:
    """Takes uploads to one mesh by HTTP, and remembers where that does not go. Threads may share it.

    Args:
        address: Of the mesh.
        ca_file: PEM authorities that verify the mesh's certificate; None = those of the system.
    """

    def __init__(self, address: Address, ca_file: Path | None) -> None:
        self._address = address
        self._ca_file = ca_file
        self._is_refused = urlsplit(address.url).scheme not in ("http", "https") or _is_behind_proxy(address)
        self._is_proven = False
        self._silent_count = 0

    def is_worth(self, size_bytes: int) -> bool:
        """Returns whether so many bytes are sent by HTTP."""
        return not self._is_refused and size_bytes >= _LEAST_BYTES

    def attempt(self, upload: _Upload, project: str, metadata: Metadata, timeout_s: float) -> HttpUpload[_Upload]:
        """Prepares to send the rest of an upload; nothing is sent yet.

        Args:
            upload: The upload, as the mesh last said where it stands.
            project: Project; empty = `default`.
            metadata: What a gRPC call would carry.
            timeout_s: Deadline, in seconds.
        """
        import http.client

        host, port = urlsplit(self._address.url).hostname or "", urlsplit(self._address.url).port
        connection = (
            http.client.HTTPSConnection(host, port, context=self._tls)
            if self._address.is_secure
            else http.client.HTTPConnection(host, port)
        )
        query = urlencode({"offset_bytes": upload.offset_bytes, **({"project": project} if project else {})})
        path = PATHS[upload.DESCRIPTOR.full_name].format(upload_id=quote(upload.id, safe=""))
        left_bytes = upload.size_bytes - upload.offset_bytes
        return HttpUpload(self, connection, f"{path}?{query}", metadata, left_bytes, time.monotonic() + timeout_s, type(upload))

    def heard(self) -> None:
        """Takes note that the peer answered in HTTP/1.1."""
        self._is_proven = True

    def refused(self, why: str) -> HttpNotSpoken:
        """Takes note that the peer does not take uploads over HTTP/1.1, for as long as the connection to the mesh lives."""
        self._is_refused = True
        return HttpNotSpoken(why)

    def broke_off(self) -> None:
        """Takes note of an attempt that ended without an answer."""
        self._silent_count += 1
        self._is_refused = self._is_refused or (not self._is_proven and self._silent_count >= _MOST_SILENT)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        import ssl

        context = ssl.create_default_context(cafile=self._ca_file)
        context.set_alpn_protocols(["http/1.1"])
        return context


class HttpUpload(Generic[_Upload]):
    """One attempt to send the rest of an upload. Close it.

    Args:
        uploads: What is known of the peer.
        connection: Leads there; not open yet.
        target: Path and query.
        metadata: What a gRPC call would carry.
        size_bytes: How many bytes are sent.
        deadline: When the caller stops waiting, in seconds of `time.monotonic`.
        answer_type: Message that the answer is.
    """

    def __init__(
        self,
        uploads: HttpUploads,
        connection: HTTPConnection,
        target: str,
        metadata: Metadata,
        size_bytes: int,
        deadline: float,
        answer_type: type[_Upload],
    ) -> None:
        self._uploads = uploads
        self._connection = connection
        self._target = target
        self._metadata = metadata
        self._size_bytes = size_bytes
        self._deadline = deadline
        self._answer_type = answer_type
        self._ready = selectors.DefaultSelector()
        self._answer: BufferedReader | None = None
        self._cut: OSError | None = None
        self._is_closed = False
        self._in_use = threading.Lock()

    def open(self) -> None:
        """Connects and sends the head of the request.

        Raises:
            Unavailable: The mesh cannot be reached.
            HttpNotSpoken: The peer says that it does not speak HTTP/1.1.
        """
        import ssl

        connection = self._connection
        connection.timeout = min(_CONNECT_S, self._left_s())
        with self._in_use:
            try:
                connection.connect()
                _keep_alive(connection.sock)
                connection.putrequest("PUT", self._target, skip_accept_encoding=True)
                for name, value in (
                    ("content-type", "application/octet-stream"),
                    ("content-length", str(self._size_bytes)),
                    ("accept", "application/json"),
                    ("user-agent", "mlmesh"),
                    *self._metadata,
                ):
                    connection.putheader(name, value)
                connection.endheaders()
                connection.sock.setblocking(False)
            except ssl.SSLError as error:
                if error.reason in ("TLSV1_ALERT_NO_APPLICATION_PROTOCOL", "NO_APPLICATION_PROTOCOL"):
                    raise self._uploads.refused("the peer does not agree on HTTP/1.1") from error
                raise self._unreachable(error) from error
            except OSError as error:
                raise self._unreachable(error) from error
            self._ready.register(connection.sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            self._answer = connection.sock.makefile("rb")

    def send_piece(self, outgoing: Pieces, offset_bytes: int) -> int:
        """Sends the piece of a file that begins at an offset; one after the other.

        Returns:
            How many bytes that were; 0 = it is time for the answer: everything was sent, or the peer has answered before, or hung up.

        Raises:
            Unavailable: The peer takes nothing any more.
            DeadlineExceeded: The deadline is over.
            InvalidArgument: The file has become shorter.
        """
        piece = outgoing.read(offset_bytes)
        if not piece:
            outgoing.check_whole()
            return 0
        with self._in_use:
            left = memoryview(piece)
            while left and not self._is_closed:
                taken = self._send(left)
                if not taken:
                    return 0
                left = left[taken:]
        return len(piece) - len(left)

    def answer(self) -> _Upload:
        """Waits for the answer.

        Returns:
            Where the upload stands now.

        Raises:
            MeshError: The mesh refuses it, or the connection broke.
            HttpNotSpoken: The answer is not of a mesh that knows this way.
        """
        from http.client import BadStatusLine, HTTPException, HTTPResponse, RemoteDisconnected

        with self._in_use:
            left_s = self._left_s()
            self._connection.sock.settimeout(left_s if self._cut is None else min(_LAST_WORDS_S, left_s))
            arriving = self._arriving()
            try:
                if not _HTTP.startswith(arriving.peek(len(_HTTP))[: len(_HTTP)]):
                    # The frame by which HTTP/2 begins has no end of a line, which would be waited for.
                    raise BadStatusLine("")
                response = HTTPResponse(cast(socket.socket, _Looked(arriving)), method="PUT")
                response.begin()
                self._uploads.heard()
                body = response.read(_MOST_ANSWER_BYTES)
            except RemoteDisconnected as error:
                raise self._broken_off("the connection was closed without an answer") from (self._cut or error)
            except BadStatusLine as error:
                raise self._uploads.refused("the peer does not answer in HTTP/1.1") from error
            except (OSError, HTTPException) as error:
                if isinstance(error, TimeoutError) and self._cut is None:
                    raise DeadlineExceeded("the upload took longer than its deadline") from error
                raise self._broken_off(str(self._cut or error)) from (self._cut or error)
        return self._read(response, body)

    def close(self) -> None:
        """Closes the connection, also under a thread that still sends."""
        with suppress(OSError, AttributeError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        with self._in_use:
            self._is_closed = True
            self._ready.close()
            if self._answer is not None:
                self._answer.close()
            self._connection.close()

    def _send(self, data: memoryview) -> int:
        """Hands bytes to the system and returns how many it took; 0 = the peer has answered already, or hung up."""
        import ssl

        while events := self._ready.select(min(_STALL_S, self._left_s())):
            try:
                if events[0][1] & selectors.EVENT_READ and self._has_answered():
                    return 0
                return self._connection.sock.send(data)
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                continue
            except OSError as error:
                # Perhaps the peer has said why before it hung up.
                self._cut = error
                return 0
        self._left_s()
        raise self._broken_off(f"nothing was taken for {_STALL_S:.0f} s")

    def _has_answered(self) -> bool:
        """Whether an answer arrives, or its end. A socket under TLS is readable for what TLS itself has to say, too."""
        import ssl

        try:
            self._arriving().peek(1)
        except ssl.SSLWantReadError:
            return False
        return True

    def _arriving(self) -> BufferedReader:
        if self._answer is None:
            raise ValueError("the upload is not open")
        return self._answer

    def _read(self, response: HTTPResponse, body: bytes) -> _Upload:
        if response.status == 200:
            try:
                answer = self._answer_type()
                json_format.Parse(body, cast(Message, answer), ignore_unknown_fields=True)
                return answer
            except json_format.ParseError as error:
                raise self._uploads.refused("the answer is no upload") from error
        refusal = error_of_json(body, response.getheader("x-request-id") or "")
        if refusal is not None and refusal.reason != "ROUTE_NOT_FOUND":
            raise refusal
        if response.status >= 500:
            raise Unavailable(f"the upload was answered with HTTP {response.status}", reason="UPLOAD_BROKEN_OFF")
        raise self._uploads.refused(f"the path of uploads is answered with HTTP {response.status}")

    def _left_s(self) -> float:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded("the upload took longer than its deadline")
        return left_s

    def _unreachable(self, error: OSError) -> MeshError:
        if isinstance(error, TimeoutError) and time.monotonic() >= self._deadline:
            return DeadlineExceeded("the upload took longer than its deadline")
        self._uploads.broke_off()
        return Unavailable(f"the mesh cannot be reached: {error}")

    def _broken_off(self, how: str) -> Unavailable:
        self._uploads.broke_off()
        return Unavailable(f"the upload broke off: {how}", reason="UPLOAD_BROKEN_OFF")


def error_of_json(body: bytes, request_id: str = "") -> MeshError | None:
    """Returns the exception for a `google.rpc.Status` in JSON; None where it is something else.

    Args:
        body: What came.
        request_id: Identifier of the request, where the status does not have it.
    """
    try:
        said: Any = json.loads(body)
        status = status_pb2.Status(code=said["code"], message=said["message"])
        details = list(said.get("details", ()))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if not status.code:
        return None
    for detail in details:
        # One of a kind that this client does not know is no reason to lose the others.
        with suppress(json_format.ParseError):
            status.details.append(json_format.ParseDict(detail, any_pb2.Any()))
    return error_of_status(status, request_id)


class _Looked:
    """What an `HTTPResponse` asks of a socket, over bytes that were looked at before."""

    def __init__(self, arriving: BufferedReader) -> None:
        self._arriving = arriving

    def makefile(self, _mode: str) -> BufferedReader:
        return self._arriving


def _keep_alive(connected: socket.socket) -> None:
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        # macOS and Windows lack some of them.
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _is_behind_proxy(address: Address) -> bool:
    """Whether gRPC goes through a proxy to get there: it knows how, so uploads go the same way."""
    if is_on_this_machine(address) or not any(os.environ.get(name) for name in _PROXIES):
        return False
    from urllib.request import proxy_bypass

    return not proxy_bypass(urlsplit(address.url).hostname or "")
