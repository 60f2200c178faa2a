"""One echo server as a process of its own: `python echo_process.py <address> <public key file>`."""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from mlmesh_test.v1.echo_pb2_grpc import add_EchoServiceServicer_to_server

from servers.runtime.auth import LocalKeys, TokenVerifier
from servers.runtime.server import Registration, Server, build_server, run
from servers.runtime.settings import ServerSettings
from tests.integration.runtime.conftest import KEY_ID
from tests.integration.runtime.echo_servicer import EchoServicer


def build() -> Server:
    key = load_pem_public_key(Path(sys.argv[2]).read_bytes())
    settings, servicer = ServerSettings(listen=sys.argv[1]), EchoServicer()
    return build_server(
        settings,
        [Registration(add_EchoServiceServicer_to_server, servicer)],
        component="echo",
        on_close=[lambda: (settings.data_dir / "things_created").write_text(str(servicer.things_created))],
        verifier=TokenVerifier(LocalKeys(lambda: {KEY_ID: key}), "mlmesh", "mlmesh"),
    )


if __name__ == "__main__":
    sys.exit(run(build))
