"""Where a server listens, and with which transport options."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import grpc

from servers.runtime.settings import ServerSettings

_MAX_SOCKET_PATH_BYTES = 100  # sun_path is 108 bytes on Linux and 104 on macOS, and gRPC adds its own terminator

SOCKET_MODE = 0o600
"""Mode of a Unix socket: only the user of the mesh may call."""


class ListenError(Exception):
    """The address cannot be served on; says why and what would do."""


def transport_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Channel arguments of a server.

    Args:
        settings: The server's settings.

    Returns:
        Options for `grpc.server`.
    """
    return [
        # Two processes on one port would share it silently and split the traffic; the second one has to fail.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        # Finds peers that vanished without a FIN, so that their streams do not hold worker threads for ever.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # Clients keep watch streams open through quiet times with pings; without these two they would be told "too_many_pings".
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ]


def bind(server: grpc.Server, settings: ServerSettings) -> str:
    """Binds a server to the address of its settings.

    Args:
        server: A server that has not started.
        settings: `listen` and the TLS files.

    Returns:
        A gRPC target that reaches the server, with the real port.

    Raises:
        ListenError: The address is in use, malformed, too long, or not ours; or the TLS files do not fit together.
    """
    address = settings.listen
    path = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
    if path is not None:
        check_socket_path(path)
    credentials = _credentials(settings)
    try:
        port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    except (RuntimeError, ValueError):
        raise ListenError(f"cannot listen on {address!r}: it is in use, or not host:port with an address of this machine") from None
    if path is not None:
        # Requests are not accepted before start(), so nobody gets in between. The folder of the mesh's sockets is 0700 besides.
        path.chmod(SOCKET_MODE)
        return address
    host = address.rpartition(":")[0]
    return f"{'127.0.0.1' if host in {'0.0.0.0', ''} else '[::1]' if host == '[::]' else host}:{port}"  # noqa: S104


def unlink_socket(address: str) -> None:
    """Removes the socket file of a server that has stopped, where gRPC has left it."""
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).unlink(missing_ok=True)


def check_socket_path(path: Path) -> None:
    """Makes the folder of a socket.

    Raises:
        ListenError: The path is too long, or somebody listens there.
    """
    if not path.is_absolute():
        raise ListenError(f"cannot listen on unix:{path}: the path of a socket has to be absolute")
    if len(str(path).encode()) > _MAX_SOCKET_PATH_BYTES:
        raise ListenError(f"cannot listen on unix:{path}: the path is longer than {_MAX_SOCKET_PATH_BYTES} bytes; choose a shorter folder")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise ListenError(f"cannot listen on unix:{path}: a file that is not a socket is there")
    # gRPC would unlink the socket of a living server and leave it deaf.
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        if probe.connect_ex(str(path)) == 0:
            raise ListenError(f"cannot listen on unix:{path}: another server is listening there")


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    certificate, key, authorities = settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file
    if certificate is None and key is None and authorities is None:
        return None
    if certificate is None or key is None:
        raise ListenError("TLS needs both tls_certificate_file and tls_key_file (and tls_client_ca_file for mTLS)")
    try:
        return grpc.ssl_server_credentials(
            [(key.read_bytes(), certificate.read_bytes())],
            root_certificates=authorities.read_bytes() if authorities is not None else None,
            require_client_auth=authorities is not None,
        )
    except OSError as error:
        raise ListenError(f"cannot read a TLS file: {error}") from None
