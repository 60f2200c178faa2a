"""Envoy's whole configuration, made from the contracts, the settings, and where the components are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError, Message

from gateway.clusters import collector_cluster, component_cluster, edge_cluster, endpoints, lane_cluster, lane_name, workers_name
from gateway.control_plane.snapshot import Snapshot, snapshot_of
from gateway.filters import jwt_authn
from gateway.listeners import public_listener
from gateway.policies import ContractError, Method, RateClass, components_of, read_methods, services_of
from gateway.routes import Target, route_configuration
from gateway.settings import GatewaySettings, environment_upstreams
from gateway.topology import Endpoint, Upstream, upstreams_of

_PROTOCOLS = {"inference": "serving", "feast.serving": "features", "": "features"}
"""Packages of protocols that are not ours, and who speaks them. A service of Feast's has none."""


@dataclass(frozen=True)
class Contracts:
    """What the gateway has to know of the contracts.

    Args:
        methods: All methods, sorted by path.
        descriptors: Serialized descriptor set, for the transcoder, which has no use for protocols that are not ours.
    """

    methods: tuple[Method, ...]
    descriptors: bytes

    @property
    def services(self) -> Mapping[str, str]:
        """Full name of the gRPC service of each component; the first, where it has several."""
        return {method.component: method.service for method in reversed(self.methods) if method.is_ours}

    @property
    def transcoded(self) -> tuple[str, ...]:
        """Full names of the services that have REST paths."""
        return services_of(method for method in self.methods if method.is_ours)


@dataclass(frozen=True)
class Mesh:
    """Where calls go.

    Args:
        upstreams: Where each cluster's servers are, by name of the cluster.
        splits: Clusters among which a component's calls are split. A component that is not named goes to the cluster of its own name.
        draining: Endpoints that finish what they have and get nothing new.
    """

    upstreams: Mapping[str, Upstream]
    splits: Mapping[str, Sequence[Target]] = field(default_factory=lambda: MappingProxyType({}))
    draining: frozenset[Endpoint] = frozenset()

    def targets(self, component: str) -> Sequence[Target]:
        """Returns the clusters of a component; none where it is not deployed."""
        if component in self.splits:
            return self.splits[component]
        return (Target(component, 1),) if component in self.upstreams else ()

    def targets_of(self, method: Method) -> Sequence[Target]:
        """Returns the clusters of a method: a lane of its component, where there is one that takes it."""
        component = method.component
        lane = self.upstreams[component].lane if component in self.upstreams else ()
        # HTTP/1.1 has no streams in both directions at once.
        is_duplex = method.is_client_streaming and method.is_server_streaming
        if not lane or is_duplex or component in self.splits:
            return self.targets(component)
        # All workers predict. What they are to know is told to the first, which tells the others.
        takes_all = len(lane) > 1 and method.rate_class is RateClass.PREDICT
        return (Target(workers_name(component) if takes_all else lane_name(component), 1),)


def read_contracts(settings: GatewaySettings) -> Contracts:
    """Reads the descriptor set.

    Args:
        settings: Says where it is.

    Returns:
        The contracts, without comments and source positions, which Envoy has no use for.

    Raises:
        ContractError: There is none, it cannot be read, or a method lacks its policy.
    """
    ours = _descriptors(settings.descriptor_file)
    others = [method for path in settings.protocol_files for method in read_methods(_descriptors(path), _PROTOCOLS)]
    methods = sorted((*read_methods(ours), *others), key=lambda method: method.path)
    return Contracts(tuple(methods), ours.SerializeToString(deterministic=True))


def _descriptors(path: Path) -> descriptor_pb2.FileDescriptorSet:
    descriptors = descriptor_pb2.FileDescriptorSet()
    try:
        descriptors.ParseFromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise ContractError(f"cannot read the contracts from {path}: {error}; `make generate` makes them") from error
    for file in descriptors.file:
        file.ClearField("source_code_info")
    return descriptors


def read_mesh(contracts: Contracts, settings: GatewaySettings) -> Mesh:
    """Reads where the components are, from the settings and the environment.

    Raises:
        gateway.topology.AddressError: An address cannot be read.
    """
    components = components_of(contracts.methods)
    addresses = {**environment_upstreams(components), **settings.upstreams}
    # Who says where a component is by the setting may mean another machine, and a lane never leaves its own.
    lanes = {name: lane for name, lane in environment_upstreams(components, "LANE").items() if name not in settings.upstreams}
    return Mesh(upstreams_of(addresses, contracts.services, lanes))


def configuration(contracts: Contracts, mesh: Mesh, jwks: str, settings: GatewaySettings) -> Snapshot:
    """Returns Envoy's whole configuration.

    Args:
        contracts: What there is to call.
        mesh: Where calls go.
        jwks: JSON Web Key Set of the users server.
        settings: Limits and addresses.
    """
    messages: list[Message] = [edge_cluster(settings)]
    collector = collector_cluster(settings)
    if collector is not None:
        messages.append(collector)
    for name, upstream in mesh.upstreams.items():
        cluster = component_cluster(name, upstream, settings)
        messages.append(cluster)
        if cluster.HasField("eds_cluster_config"):
            messages.append(endpoints(name, upstream.endpoints, draining=mesh.draining))
        lanes = {lane_name(name): upstream.lane[:1], workers_name(name): upstream.lane if len(upstream.lane) > 1 else ()}
        for cluster_name, members in lanes.items():
            if members:
                messages += [lane_cluster(cluster_name, settings), endpoints(cluster_name, members, draining=mesh.draining)]
    messages += [
        public_listener(contracts.descriptors, contracts.transcoded, settings),
        jwt_authn(jwks, settings),
        route_configuration([(method, mesh.targets_of(method)) for method in contracts.methods], settings),
    ]
    return snapshot_of(messages)
