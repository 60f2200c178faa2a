"""A server that speaks Feast's protocol, over gRPC and on the lane, which has its HTTP side."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from sqlalchemy import insert

from servers.features.definitions.resolving import resolved
from servers.features.feast import contract
from servers.features.feast.push_sources import LABEL
from servers.features.feast.registrations import feast
from servers.features.serving.plans import ServingPlans
from servers.features.serving.push_times import PushTimes
from servers.features.serving.pushing import Pushing
from servers.features.serving.serving import Serving
from servers.features.settings import FeaturesSettings
from servers.features.store.definitions import Definitions
from servers.features.store.tables import view_labels
from servers.runtime.audit_events import LogAuditSink
from servers.runtime.server import build_server
from tests.integration.features.serving.served import ServedFeatures, served
from tests.small_mesh.identity import EVERYTHING


@dataclass
class FeastServer:
    """A running server.

    Args:
        features: What makes views, and knows what was pushed.
        channel: To gRPC.
        http: To the lane.
    """

    features: ServedFeatures
    channel: grpc.Channel
    http: httpx.Client

    def call(self, path: str, request: Any, grants: Mapping[str, Sequence[str]] = EVERYTHING, **headers: str) -> Any:
        """Calls a method over gRPC."""
        name = type(request).__name__.replace("Request", "Response")
        call = self.channel.unary_unary(path, type(request).SerializeToString, getattr(contract, name).FromString)
        return call(request, metadata=[*self.features.issuer.bearer(grants), *headers.items()], timeout=30)

    def post(self, path: str, body: Any, grants: Mapping[str, Sequence[str]] = EVERYTHING, **headers: str) -> httpx.Response:
        """Posts JSON."""
        return self.http.post(path, json=body, headers={**dict(self.features.issuer.bearer(grants)), **headers})

    def label(self, view_id: str, push_source: str) -> None:
        """Says that a view has the rows of a push source."""
        with self.features.engine.begin() as connection:
            connection.execute(insert(view_labels).values(owner_id=view_id, key=LABEL, value=push_source))


@pytest.fixture(scope="module")
def feast_server() -> Iterator[FeastServer]:
    folder = Path(tempfile.mkdtemp(prefix="mlf-"))  # short: sockets have a limit of 100 bytes
    lane = folder / "lane.sock"
    with served(folder) as features:
        engine, states, store = features.engine, features.states, features.store
        definitions = Definitions(engine)
        plans = ServingPlans(partial(resolved, definitions), states, features.revision)
        serving = Serving(plans, store, max_rows=100, clock=lambda: features.clock[0])
        pushing = Pushing(definitions, states, PushTimes(engine), store, features.ingestion, max_rows=100, clock=lambda: features.clock[0])
        settings = FeaturesSettings(data_dir=folder, listen=f"unix:{folder}/feast.sock", lane=f"unix:{lane}", drain_s=0)
        server = build_server(
            settings,
            feast(plans, serving, pushing, definitions, engine),
            component=settings.component,
            database=engine,
            verifier=features.issuer.verifier(),
            audit=LogAuditSink(),
        )
        server.start()
        with (
            grpc.insecure_channel(server.address) as channel,
            httpx.Client(transport=httpx.HTTPTransport(uds=str(lane)), base_url="http://lane", timeout=30) as http,
        ):
            yield FeastServer(features, channel, http)
        server.stop()
    shutil.rmtree(folder, ignore_errors=True)
