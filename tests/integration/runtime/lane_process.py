"""A server of the contract `mlops.lanetest.v1` as a process of its own: `python lane_process.py <path without suffix>`."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from servers.runtime.auth import LocalKeys, TokenVerifier
from servers.runtime.server import Registration, Server, build_server, run
from servers.runtime.settings import ServerSettings
from tests.integration.runtime.lane_contract import LaneTestServicer, add_servicer

SLOW_S = 2.0


class CountingServicer(LaneTestServicer):
    """Counts what it has begun, and is slow where asked to be."""

    def __init__(self) -> None:
        super().__init__()
        self.effects = itertools.count()

    def One(self, request: Any, context: Any) -> Any:
        next(self.effects)
        if request.how == "slow":
            threading.Event().wait(SLOW_S)
        return super().One(request, context)

    def Many(self, request: Any, context: Any) -> Iterator[Any]:
        for answer in super().Many(request, context):
            yield answer
            if request.how == "slow":
                threading.Event().wait(SLOW_S / 4)


def build() -> Server:
    place = Path(sys.argv[1])
    servicer = CountingServicer()
    key = rsa.generate_private_key(65537, 2048).public_key()

    def note() -> None:
        place.with_name(f"{place.name}-{time.time_ns()}.effects").write_text(str(next(servicer.effects)))

    return build_server(
        ServerSettings(data_dir=place.parent, listen=f"unix:{place}.sock", lane=f"unix:{place}.lane"),
        [Registration(add_servicer, servicer)],
        component="lanetest",
        verifier=TokenVerifier(LocalKeys(lambda: {"k": key}), "mlmesh", "mlmesh"),
        on_close=[note],
    )


if __name__ == "__main__":
    sys.exit(run(build))
