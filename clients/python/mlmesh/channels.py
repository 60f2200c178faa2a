"""Options of the channel to a mesh."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import grpc

from mlmesh.addresses import Address
from mlmesh.policies import service_config

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_READ_AHEAD_BYTES = 8 * 1024 * 1024


def channel_options(address: Address) -> list[tuple[str, str | int]]:
    """Returns the options of a channel.

    Args:
        address: Where it leads.
    """
    options: list[tuple[str, str | int]] = [
        ("grpc.service_config", _retries()),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        # gRPC would make the window of a stream as large as it believes the line to be long: beside a fast mesh, 130 to 360 MiB of a
        # download of 2 GiB piled up in the client. With a fixed one it is 45, as fast there, and 100 MB/s at 50 ms round trip.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _READ_AHEAD_BYTES),
        # Finds out within 30 s that the network is gone, while a call runs.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        # A mesh that is restarted is back in seconds; gRPC would wait for up to two minutes.
        ("grpc.max_reconnect_backoff_ms", 3_000),
    ]
    if is_on_this_machine(address):
        options.append(("grpc.enable_http_proxy", 0))
    return options


def is_on_this_machine(address: Address) -> bool:
    """Returns whether an address is of this machine, and so never behind a proxy."""
    return address.target.startswith(("unix:", "127.", "localhost", "[::1]"))


def channel_credentials(ca_file: Path | None) -> grpc.ChannelCredentials:
    """Returns TLS credentials.

    Args:
        ca_file: PEM authorities that verify the mesh's certificate; None = those of the system.

    Raises:
        OSError: The file cannot be read.
    """
    return grpc.ssl_channel_credentials(ca_file.read_bytes() if ca_file is not None else None)


@cache
def _retries() -> str:
    return service_config()
