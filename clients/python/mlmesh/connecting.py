"""The ways in: `mlmesh.connect` and `mlmesh.connect_async`."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from mlmesh.aio.mesh import DEFAULT_TIMEOUT_S, DEFAULT_TRANSFER_TIMEOUT_S, AsyncMesh
from mlmesh.configuration import resolve
from mlmesh.sync.mesh import SyncMesh


class Mesh(SyncMesh):
    """A connection to a mesh. Made by `mlmesh.connect`; close it, or use it in a `with`. Threads may share it."""

    @cached_property
    def aio(self) -> AsyncMesh:
        """The same connection for asyncio. It has a channel of its own; close it with `await mesh.aio.close()`."""
        return AsyncMesh(self._connection, timeout_s=self._timeout_s, transfer_timeout_s=self._transfer_timeout_s, ca_file=self._ca_file)


def connect(
    url: str | None = None,
    *,
    token: str | None = None,
    api_key: str | None = None,
    username: str | None = None,
    password: str | None = None,
    data_dir: Path | str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    transfer_timeout_s: float = DEFAULT_TRANSFER_TIMEOUT_S,
    ca_file: Path | str | None = None,
) -> Mesh:
    """Connects to a mesh. Without arguments that is the one of the environment (`MLMESH_URL`), or else the one on this machine.

    As whom: the credential given here, or `MLMESH_TOKEN` or `MLMESH_API_KEY`, or what the mesh on this machine made for its owner, or
    what `mlmesh login` saved for the address. Nothing is sent before the first call.

    Args:
        url: `http://host:port`, or `https://host` for TLS.
        token: A bearer token.
        api_key: An API key, exchanged for tokens that are renewed by themselves.
        username: Login name; with `password`.
        password: Password; exchanged for tokens that are renewed by themselves.
        data_dir: Data directory of the mesh on this machine; None = `$MLMESH_DATA_DIR` or `~/.mlmesh`.
        timeout_s: Deadline of a call that does not state one, in seconds.
        transfer_timeout_s: The same for calls that move bytes in bulk.
        ca_file: PEM authorities that verify the mesh's certificate; None = those of the system.

    Returns:
        The connection.

    Raises:
        mlmesh.errors.NotConnected: No address is given, and no mesh runs on this machine.
        mlmesh.errors.InvalidArgument: The address cannot be read, or the credentials contradict each other.
    """
    connection = resolve(url, token=token, api_key=api_key, username=username, password=password, data_dir=data_dir)
    authorities = Path(ca_file) if ca_file is not None else None
    return Mesh(connection, timeout_s=timeout_s, transfer_timeout_s=transfer_timeout_s, ca_file=authorities)


def connect_async(
    url: str | None = None,
    *,
    token: str | None = None,
    api_key: str | None = None,
    username: str | None = None,
    password: str | None = None,
    data_dir: Path | str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    transfer_timeout_s: float = DEFAULT_TRANSFER_TIMEOUT_S,
    ca_file: Path | str | None = None,
) -> AsyncMesh:
    """Connects to a mesh for asyncio: the surface of `connect`, to be awaited. It may be called outside of the event loop.

    Args:
        url: `http://host:port`, or `https://host` for TLS.
        token: A bearer token.
        api_key: An API key, exchanged for tokens that are renewed by themselves.
        username: Login name; with `password`.
        password: Password; exchanged for tokens that are renewed by themselves.
        data_dir: Data directory of the mesh on this machine; None = `$MLMESH_DATA_DIR` or `~/.mlmesh`.
        timeout_s: Deadline of a call that does not state one, in seconds.
        transfer_timeout_s: The same for calls that move bytes in bulk.
        ca_file: PEM authorities that verify the mesh's certificate; None = those of the system.

    Returns:
        The connection.

    Raises:
        mlmesh.errors.NotConnected: No address is given, and no mesh runs on this machine.
        mlmesh.errors.InvalidArgument: The address cannot be read, or the credentials contradict each other.
    """
    connection = resolve(url, token=token, api_key=api_key, username=username, password=password, data_dir=data_dir)
    authorities = Path(ca_file) if ca_file is not None else None
    return AsyncMesh(connection, timeout_s=timeout_s, transfer_timeout_s=transfer_timeout_s, ca_file=authorities)
