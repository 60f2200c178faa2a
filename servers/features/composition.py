"""Puts the feature store together."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import grpc
from mlops.features.v1.feature_job_service_pb2_grpc import add_FeatureJobServiceServicer_to_server
from mlops.features.v1.feature_serving_service_pb2_grpc import add_FeatureServingServiceServicer_to_server
from mlops.features.v1.feature_store_service_pb2_grpc import add_FeatureStoreServiceServicer_to_server

from servers.features.definitions.entities import EntityManagement
from servers.features.definitions.records import Wanted
from servers.features.definitions.resolving import resolved
from servers.features.definitions.servicer import DefinitionManagement, FeatureStoreServicer
from servers.features.definitions.services import ServiceManagement
from servers.features.definitions.view_sources import ViewSources
from servers.features.definitions.views import ViewManagement
from servers.features.feast.registrations import feast
from servers.features.insight.lineage import Lineage
from servers.features.insight.statistics import Statistics
from servers.features.jobs.assembly import FeatureJobs, Surroundings
from servers.features.online import OnlineStore, open_online_store
from servers.features.online.missing_store import MissingStore
from servers.features.peers import ingestion_peer, processing_peer, registry_peer
from servers.features.peers.ingestion_peer import IngestionPeer
from servers.features.peers.processing_peer import ProcessingPeer
from servers.features.peers.registry_peer import RegistryPeer
from servers.features.serving.plans import ServingPlans
from servers.features.serving.push_times import PushTimes
from servers.features.serving.pushing import Pushing
from servers.features.serving.servicer import ServingServicer
from servers.features.serving.serving import Serving
from servers.features.settings import FeaturesSettings
from servers.features.store.definitions import Definitions
from servers.features.store.online_states import OnlineStates
from servers.features.store.opening import open_store
from servers.features.store.revision import Revision
from servers.runtime.component import Dependency, database_dependency
from servers.runtime.peers import open_channel
from servers.runtime.server import Registration, Server, build_server
from servers.runtime.service_identity import ServiceCredentials

_LOGGER = logging.getLogger(__name__)


def build(settings: FeaturesSettings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Server:
    """Builds the server; it does not listen yet, and works on jobs already.

    Args:
        settings: Where it keeps what, and where its peers are.
        clock: The time by which ages are counted and jobs are forgotten.

    Raises:
        ValueError: The URL of the database or of the online store cannot be read.
    """
    engine = open_store(settings)
    online_url = settings.online_url.get_secret_value() or f"lmdb://{settings.data_dir.resolve()}/features/online"
    store = _online_store(online_url, settings)
    peers = _Peers(settings)
    ingestion = IngestionPeer(peers.channel(settings.ingestion_address, ingestion_peer.SERVICES), settings.peer_patience_s)
    processing = ProcessingPeer(peers.channel(settings.processing_address, processing_peer.SERVICES), settings.peer_patience_s)
    registry = RegistryPeer(peers.channel(settings.registry_address, registry_peer.SERVICES), settings.peer_patience_s)

    revision = Revision(engine)
    definitions, states = Definitions(engine), OnlineStates(engine, revision)
    jobs = FeatureJobs(Surroundings(engine, definitions, states, ingestion, processing), settings, online_url, clock)
    sources = ViewSources(ingestion, processing)
    management = DefinitionManagement(
        EntityManagement(engine, revision, clock),
        ViewManagement(engine, revision, sources, states, jobs.remove_vectors, clock, _new_id),
        ServiceManagement(engine, revision, _check_on_demand, clock, _new_id),
    )
    store_servicer = FeatureStoreServicer(
        management, states, Lineage(definitions, jobs.training_sets, ingestion, registry), Statistics(definitions, states, ingestion, clock)
    )
    plans = ServingPlans(partial(resolved, definitions), states, revision, max_age_s=settings.definitions_age_s)
    serving = Serving(plans, store, max_rows=settings.max_served_rows, clock=clock)
    pushing = Pushing(
        definitions,
        states,
        PushTimes(engine),
        store,
        ingestion,
        max_rows=settings.max_pushed_rows,
        max_future_s=settings.max_future_s,
        clock=clock,
    )
    jobs.start()
    return build_server(
        settings,
        [
            Registration(add_FeatureStoreServiceServicer_to_server, store_servicer),
            Registration(add_FeatureServingServiceServicer_to_server, ServingServicer(serving, pushing)),
            Registration(add_FeatureJobServiceServicer_to_server, jobs.servicer),
            *feast(plans, serving, pushing, definitions, engine),
        ],
        component=settings.component,
        dependencies=[
            database_dependency(engine),
            Dependency("online-store", store.check, timeout_s=settings.online_timeout_s + 1, is_required=False),
        ],
        database=engine,
        # From the last to the first.
        on_close=[store.close, peers.close, jobs.close],
    )


class _Peers:
    """Channels to other components, with the mesh's own account."""

    def __init__(self, settings: FeaturesSettings) -> None:
        self._settings = settings
        self._closing: list[Callable[[], object]] = []
        self._identity: ServiceCredentials | None = None

    def channel(self, address: str, services: Sequence[str]) -> grpc.Channel | None:
        """Returns a channel to a component; None where nobody has said where it is."""
        if not address:
            return None
        if self._identity is None:
            self._identity = ServiceCredentials.from_settings(self._settings)
            self._closing.append(self._identity.close)
        channel = open_channel(address, identity=self._identity, settings=self._settings, services=services)
        self._closing.append(channel.close)
        return channel

    def close(self) -> None:
        """Closes them."""
        for close in reversed(self._closing):
            close()


def _online_store(url: str, settings: FeaturesSettings) -> OnlineStore:
    try:
        return open_online_store(url, max_bytes=settings.online_max_bytes, timeout_s=settings.online_timeout_s)
    except ImportError as error:
        # A small installation has a mesh, too, and says what it lacks where it is needed.
        _LOGGER.warning("there is no online store: %s", error)
        return MissingStore(str(error))


def _check_on_demand(wanted: Wanted) -> None:
    # It loads DuckDB and pyarrow, which a server without such services does not need.
    from servers.features.serving.on_demand import check_on_demand

    check_on_demand(wanted)


def _new_id() -> str:
    return str(uuid.uuid4())
