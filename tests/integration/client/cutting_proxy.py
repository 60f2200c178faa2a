"""A network between a client and a mesh that can be cut: TCP is passed on, counted, held back and broken off."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_BITE = 256 * 1024


class CuttingProxy:
    """Passes connections on to a server. Use it in a `with`.

    Args:
        target: Host and port of the server.
        hold_after_bytes: Once a connection has carried so many bytes to the server, nothing more passes until `cut`. Later connections
            are not held.
    """

    def __init__(self, target: tuple[str, int], *, hold_after_bytes: int) -> None:
        self._target = target
        self._hold_after_bytes = hold_after_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_cut = threading.Event()
        self.holds = threading.Event()
        """Set while a connection is held."""
        self.bytes_since_cut = 0
        """What was sent to the server since `cut`."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> CuttingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Breaks all connections off."""
        with self._lock:
            self._is_cut.set()
            for connection in self._open:
                with contextlib.suppress(OSError):  # closed before
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                _shut(connection)
            self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            with self._lock:
                self._open |= {client, server}
            may_be_held = not self._is_cut.is_set()
            threading.Thread(target=self._up, args=(client, server, may_be_held), daemon=True).start()
            threading.Thread(target=_pass_on, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, may_be_held: bool) -> None:
        carried = 0
        while data := _received(client):
            try:
                server.sendall(data)
            except OSError:
                break
            carried += len(data)
            if may_be_held and carried >= self._hold_after_bytes:
                self.holds.set()
                self._is_cut.wait()
                break
            with self._lock:
                self.bytes_since_cut += len(data) if self._is_cut.is_set() else 0
        _shut(server)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    while data := _received(source):
        try:
            target.sendall(data)
        except OSError:
            break
    _shut(target)


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_BITE)
    except OSError:
        return b""


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
