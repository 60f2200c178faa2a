"""Connections of Airflow as connections to a mesh."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import mlmesh
from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from airflow.sdk import Connection

DEFAULT_CONNECTION = "mlmesh_default"
"""Identifier of the connection that is used where none is named."""

_SCHEMES = ("https", "http")


class MlmeshHook(BaseHook):
    """Connects to the mesh that a connection of Airflow names.

    The connection has the type `mlmesh`: host, port, schema (`https`, or `http` for plain text), the API key as its password, and in
    its extra `ca_file` and `timeout_s`, as `mlmesh.connect` has them. The key goes to the mesh and nowhere else: not into logs,
    triggers or XComs.

    Args:
        mlmesh_conn_id: Identifier of the connection.
    """

    conn_name_attr = "mlmesh_conn_id"
    default_conn_name = DEFAULT_CONNECTION
    conn_type = "mlmesh"
    hook_name = "mlmesh"

    _UI: ClassVar[dict[str, Any]] = {
        "hidden_fields": ["login"],
        "relabeling": {"password": "API key", "schema": "Scheme"},
        "placeholders": {"host": "mesh.example.org", "port": "443", "schema": "https", "extra": '{"ca_file": "", "timeout_s": 60}'},
    }

    def __init__(self, mlmesh_conn_id: str = DEFAULT_CONNECTION) -> None:
        super().__init__()
        self.mlmesh_conn_id = mlmesh_conn_id
        self._arguments: dict[str, Any] | None = None

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Returns how the form of a connection looks."""
        return cls._UI

    def get_conn(self) -> mlmesh.Mesh:
        """Returns a new connection to the mesh, to be closed; nothing is sent before its first call.

        Raises:
            ValueError: The connection of Airflow is not one to a mesh.
        """
        if self._arguments is None:
            self._arguments = connect_arguments(self.get_connection(self.mlmesh_conn_id))
        return mlmesh.connect(**self._arguments)

    async def get_async_conn(self) -> mlmesh.AsyncMesh:
        """Returns a new connection for asyncio, for triggers; as `get_conn`."""
        if self._arguments is None:
            # The blocking twin would stop the loop that brings its answer.
            self._arguments = connect_arguments(await self.aget_connection(self.mlmesh_conn_id))
        # Loads gRPC the first time: a third of a second in which other triggers stood still.
        await asyncio.to_thread(import_module, "mlmesh.connecting")
        return mlmesh.connect_async(**self._arguments)

    def test_connection(self) -> tuple[bool, str]:
        """Tells whether the mesh answers and knows the key, and says so in words."""
        try:
            with self.get_conn() as mesh:
                return True, f"connected to {mesh.url} as {mesh.users.get_me().user.username}"
        except (mlmesh.MeshError, ValueError) as error:
            return False, str(error)


def connect_arguments(connection: Connection) -> dict[str, Any]:
    """Returns the arguments of `mlmesh.connect` for a connection of Airflow.

    Raises:
        ValueError: It has no host, no API key, or a scheme or extra that does not fit.
    """
    what = f"connection {connection.conn_id!r}"
    scheme = connection.schema or _SCHEMES[0]
    if scheme not in _SCHEMES:
        raise ValueError(f"{what} has the schema {scheme!r}: it has to be https, or http for plain text")
    if not connection.host:
        raise ValueError(f"{what} has no host")
    if not connection.password:
        # Without one the client would take whatever the worker has in its environment: a deployment that works by accident.
        raise ValueError(f"{what} has no password: it is to be an API key of the mesh")
    extra = connection.extra_dejson
    if unknown := sorted(extra.keys() - {"ca_file", "timeout_s"}):
        raise ValueError(f"{what} has {', '.join(unknown)} in its extra: only ca_file and timeout_s are known")
    host = f"[{connection.host}]" if ":" in connection.host else connection.host
    port = f":{connection.port}" if connection.port else ""
    options = {name: value for name, value in extra.items() if value}
    return {"url": f"{scheme}://{host}{port}", "api_key": connection.password, **options}
