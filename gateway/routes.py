"""Routes: one per method of the contracts, so that each has the limits, retries and credentials that its policy asks for.

Routes match the gRPC path for REST calls too, since the transcoder has rewritten them by then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as components_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.compressor.v3 import compressor_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.grpc_json_transcoder.v3 import transcoder_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from google.protobuf import any_pb2, struct_pb2

from gateway import filters
from gateway.clusters import EDGE, is_lane
from gateway.policies import Method, RateClass
from gateway.settings import GatewaySettings
from gateway.typed import any_of, boolean, seconds, uint32
from servers.runtime.admission import REFUSED
from servers.runtime.lane.templates import pattern_of

ROUTES = "public"
"""Name of the route configuration of the public listener."""

TOKEN_PATH = "/api/v1/auth/token"  # noqa: S105 (a path, not a secret)
"""Where OAuth2 clients send forms."""

# Nothing was begun by a server in these cases, so they are safe for every method. A server of ours that stops marks what it refuses.
_NEVER_SENT = "connect-failure,refused-stream,retriable-headers"
# These are for methods whose contract says that a repeat is safe. A gRPC server that stops says `cancelled` to what it did not begin.
_MAYBE_PROCESSED = f"{_NEVER_SENT},reset,unavailable,cancelled,retriable-status-codes"
# UNAVAILABLE where a lane answers REST itself, for example while a worker that was restarted loads the model: another one has it.
_UNAVAILABLE_OVER_REST = 503

_EDGE_PATHS = ("/", "/docs", "/openapi.json")
_EXPOSED_HEADERS = (
    "grpc-status,grpc-message,grpc-status-details-bin,x-request-id,retry-after,etag,content-disposition,inference-header-content-length"
)
_ALLOWED_HEADERS = (
    "authorization,content-type,content-range,x-api-key,x-grpc-web,x-user-agent,grpc-timeout,traceparent,tracestate,if-match,x-mlmesh-model,"
    "x-mlmesh-project,content-encoding,inference-header-content-length"
)


@dataclass(frozen=True)
class Target:
    """One of the clusters among which a component's calls are split.

    Args:
        cluster: Name of the cluster.
        weight: Its share, relative to the others; 0 keeps it warm without traffic.
    """

    cluster: str
    weight: int


def route_configuration(methods: Iterable[tuple[Method, Sequence[Target]]], settings: GatewaySettings) -> route_pb2.RouteConfiguration:
    """Returns all routes.

    Args:
        methods: Methods of the contracts, each with its clusters; one without any is answered with UNIMPLEMENTED.
        settings: Limits by rate class.

    Returns:
        The route configuration `ROUTES`.
    """
    host = components_pb2.VirtualHost(
        name="mesh",
        domains=["*"],
        routes=[
            *_edge_routes(settings),
            *(route for method, targets in _hottest_first(methods) for route in method_routes(method, targets, settings)),
            _unknown_method(),
            _rest(settings),
        ],
        typed_per_filter_config={filters.CORS: any_of(_cors_policy(settings))},
        include_request_attempt_count=False,
    )
    return route_pb2.RouteConfiguration(name=ROUTES, virtual_hosts=[host], validate_clusters=boolean(False))


def _hottest_first(methods: Iterable[tuple[Method, Sequence[Target]]]) -> list[tuple[Method, Sequence[Target]]]:
    """Predictions before the others: Envoy looks at one route after the other, headers and all, for each request."""
    return sorted(methods, key=lambda entry: entry[0].rate_class is not RateClass.PREDICT)


def method_routes(method: Method, targets: Sequence[Target], settings: GatewaySettings) -> Iterator[components_pb2.Route]:
    """Yields the routes of a method: one for gRPC and what the transcoder makes of REST, and one a path for REST that passes it by.

    Args:
        method: The method.
        targets: Clusters of its component; none = the component is not deployed.
        settings: Limits by rate class.
    """
    match = components_pb2.RouteMatch(path=method.path)
    # gRPC and gRPC-Web; a form or a script of another page cannot send these types without asking first (CORS).
    match.headers.add(name="content-type").string_match.prefix = "application/grpc"
    yield _method_route(method, match, targets, settings)
    if not any(is_lane(target.cluster) for target in targets):
        return
    for rule in method.http_rules:
        if rule.is_raw:
            match = components_pb2.RouteMatch(safe_regex=regex_pb2.RegexMatcher(regex=pattern_of(rule.template)))
            match.headers.add(name=":method").string_match.exact = rule.verb
            other = match.headers.add(name="content-type", invert_match=True, treat_missing_header_as_empty=True)
            other.string_match.prefix = "application/grpc"
            route = _method_route(method, match, targets, settings)
            # The lane reads and writes the bytes itself; through the transcoder they would be copied into messages and back.
            route.typed_per_filter_config[filters.TRANSCODER].CopyFrom(any_of(transcoder_pb2.GrpcJsonTranscoder(proto_descriptor_bin=b"")))
            yield route


def _method_route(
    method: Method, match: components_pb2.RouteMatch, targets: Sequence[Target], settings: GatewaySettings
) -> components_pb2.Route:
    route = components_pb2.Route(
        name=method.path.removeprefix("/"),
        match=match,
        metadata=_metadata(
            component=method.component,
            rate_class=method.rate_class,
            is_limited_by_address=method.is_public or method.rate_class is RateClass.AUTH,
        ),
        typed_per_filter_config=_filter_overrides(method),
        # A server never sees an API key: it was exchanged for a token.
        request_headers_to_remove=["x-api-key"],
    )
    route.decorator.operation = route.name
    route.decorator.propagate.value = False
    if targets:
        route.route.CopyFrom(_action(method, targets, settings))
    else:
        route.direct_response.status = 501
    return route


def _action(method: Method, targets: Sequence[Target], settings: GatewaySettings) -> components_pb2.RouteAction:
    limit = settings.time_limit(method.rate_class)
    action = components_pb2.RouteAction(retry_policy=_retry_policy(method, settings))
    if len(targets) == 1:
        action.cluster = targets[0].cluster
    else:
        for target in targets:
            action.weighted_clusters.clusters.add(name=target.cluster, weight=uint32(target.weight))
    if method.is_streaming:
        idle_s = limit.idle_s if method.rate_class is RateClass.TRANSFER else settings.stream_idle_s
        action.timeout.CopyFrom(seconds(0))
        action.max_stream_duration.max_stream_duration.CopyFrom(seconds(0))
        action.max_stream_duration.grpc_timeout_header_max.CopyFrom(seconds(0))
        action.idle_timeout.CopyFrom(seconds(idle_s))
    else:
        action.timeout.CopyFrom(seconds(limit.answer_s))
        # The time-out begins when the request is complete; this one ends requests that never are.
        action.max_stream_duration.max_stream_duration.CopyFrom(seconds(2 * limit.answer_s))
        action.max_stream_duration.grpc_timeout_header_max.CopyFrom(seconds(limit.answer_s))
        action.idle_timeout.CopyFrom(seconds(limit.idle_s))
    return action


def _retry_policy(method: Method, settings: GatewaySettings) -> components_pb2.RetryPolicy:
    policy = components_pb2.RetryPolicy(
        retry_on=_MAYBE_PROCESSED if method.is_repeatable and not method.is_streaming else _NEVER_SENT,
        num_retries=uint32(settings.retries),
        retriable_status_codes=[_UNAVAILABLE_OVER_REST],
        # A dead worker has the fewest requests, so of two it is chosen three times out of four.
        host_selection_retry_max_attempts=16,
    )
    policy.retry_host_predicate.add(
        name="envoy.retry_host_predicates.previous_hosts",
        typed_config=any_of(previous_hosts_pb2.PreviousHostsPredicate()),
    )
    policy.retriable_headers.add(name=REFUSED, present_match=True)
    policy.retry_back_off.base_interval.CopyFrom(seconds(0.1))
    policy.retry_back_off.max_interval.CopyFrom(seconds(1))
    return policy


def _filter_overrides(method: Method) -> dict[str, any_pb2.Any]:
    overrides: dict[str, any_pb2.Any] = {}
    if method.is_client_streaming:
        overrides[filters.BODY_LIMIT] = any_of(buffer_pb2.BufferPerRoute(disabled=True))
    if method.is_public:
        overrides.update(_open_to_all())
    else:
        overrides[filters.JWT] = any_of(jwt_pb2.PerRouteConfig(requirement_name=filters.TOKEN_REQUIREMENT))
    if method.is_server_streaming:
        # The compressor holds back what it has until its block is full, and a watcher would wait for that.
        overrides[filters.COMPRESSOR] = any_of(compressor_pb2.CompressorPerRoute(disabled=True))
    return overrides


def _metadata(*, component: str, rate_class: RateClass, is_limited_by_address: bool) -> base_pb2.Metadata:
    facts = struct_pb2.Struct()
    facts.update(
        {
            "component": component,
            "rate_class": rate_class.value,
            # The rate limiter finds one of these two, and counts by what it is named after.
            filters.ADDRESS_KEY if is_limited_by_address else filters.CALLER_KEY: rate_class.value,
        }
    )
    return base_pb2.Metadata(filter_metadata={filters.METADATA: facts})


def _edge_routes(settings: GatewaySettings) -> list[components_pb2.Route]:
    form = components_pb2.RouteMatch(path=TOKEN_PATH)
    form.headers.add(name="content-type").string_match.prefix = "application/x-www-form-urlencoded"
    form.headers.add(name=":method").string_match.exact = "POST"
    static = [components_pb2.RouteMatch(path=path) for path in _EDGE_PATHS]
    assets = components_pb2.RouteMatch(prefix="/docs/")
    return [
        _edge_route("edge/token-form", form, RateClass.AUTH, settings),
        *(_edge_route(f"edge{match.path}", match, RateClass.READ, settings) for match in static),
        _edge_route("edge/docs-assets", assets, RateClass.READ, settings),
    ]


def _edge_route(name: str, match: components_pb2.RouteMatch, rate_class: RateClass, settings: GatewaySettings) -> components_pb2.Route:
    route = components_pb2.Route(
        name=name,
        match=match,
        metadata=_metadata(component=EDGE, rate_class=rate_class, is_limited_by_address=True),
        request_headers_to_remove=["authorization", "x-api-key"] if rate_class is RateClass.READ else [],
        typed_per_filter_config={
            filters.TRANSCODER: any_of(transcoder_pb2.GrpcJsonTranscoder(proto_descriptor_bin=b"")),
            **_open_to_all(),
        },
    )
    route.decorator.operation = name
    route.decorator.propagate.value = False
    route.route.cluster = EDGE
    route.route.timeout.CopyFrom(seconds(settings.time_limit(rate_class).answer_s))
    return route


def _unknown_method() -> components_pb2.Route:
    match = components_pb2.RouteMatch(prefix="/")
    match.headers.add(name="content-type").string_match.prefix = "application/grpc"
    route = components_pb2.Route(name="unknown-method", match=match, typed_per_filter_config=_open_to_all())
    route.direct_response.status = 404
    return route


def _rest(settings: GatewaySettings) -> components_pb2.Route:
    """What a REST call matches until the transcoder has rewritten it, or refused it: nothing comes out of this route.

    It has to lead somewhere all the same, because the CORS filter passes over routes without a cluster.
    """
    route = components_pb2.Route(
        name="rest",
        match=components_pb2.RouteMatch(prefix="/"),
        metadata=_metadata(component=EDGE, rate_class=RateClass.READ, is_limited_by_address=True),
        typed_per_filter_config=_open_to_all(),
    )
    route.route.cluster = EDGE
    route.route.timeout.CopyFrom(seconds(settings.time_limit(RateClass.READ).answer_s))
    return route


def _open_to_all() -> dict[str, any_pb2.Any]:
    return {
        filters.JWT: any_of(jwt_pb2.PerRouteConfig(disabled=True)),
        filters.API_KEY: any_of(ext_authz_pb2.ExtAuthzPerRoute(disabled=True)),
    }


def _cors_policy(settings: GatewaySettings) -> cors_pb2.CorsPolicy:
    return cors_pb2.CorsPolicy(
        allow_origin_string_match=[_origin(origin) for origin in settings.allowed_origins],
        allow_methods="GET,POST,PUT,PATCH,DELETE",
        allow_headers=_ALLOWED_HEADERS,
        expose_headers=_EXPOSED_HEADERS,
        max_age="600",
        allow_credentials=boolean(False),
    )


def _origin(origin: str) -> string_pb2.StringMatcher:
    if origin == "*":
        return string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(regex=".*"))
    return string_pb2.StringMatcher(exact=origin)
