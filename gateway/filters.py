"""The HTTP filters of the public listener, in the order in which a request meets them."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.core.v3 import base_pb2, config_source_pb2, extension_pb2, grpc_service_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.common.matching.v3 import extension_matcher_pb2
from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from envoy.extensions.compression.gzip.compressor.v3 import gzip_pb2
from envoy.extensions.filters.common.matcher.action.v3 import skip_action_pb2
from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from envoy.extensions.filters.http.compressor.v3 import compressor_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.grpc_json_transcoder.v3 import transcoder_pb2
from envoy.extensions.filters.http.grpc_stats.v3 import config_pb2 as grpc_stats_pb2
from envoy.extensions.filters.http.grpc_web.v3 import grpc_web_pb2
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as jwt_pb2
from envoy.extensions.filters.http.local_ratelimit.v3 import local_rate_limit_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.type.matcher.v3 import http_inputs_pb2
from envoy.type.metadata.v3 import metadata_pb2
from envoy.type.v3 import http_status_pb2, percent_pb2, token_bucket_pb2
from google.protobuf.message import Message
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import matcher_pb2, regex_pb2, string_pb2

from gateway.clusters import ads_source
from gateway.policies import RateClass
from gateway.settings import GatewaySettings
from gateway.typed import any_of, boolean, seconds, uint32

COMPRESSOR = "envoy.filters.http.compressor"
CORS = "envoy.filters.http.cors"
GRPC_WEB = "envoy.filters.http.grpc_web"
TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
API_KEY = "envoy.filters.http.ext_authz"
JWT = "envoy.filters.http.jwt_authn"
RATE_LIMIT = "envoy.filters.http.local_ratelimit"
BODY_LIMIT = "envoy.filters.http.buffer"
GRPC_STATS = "envoy.filters.http.grpc_stats"
ROUTER = "envoy.filters.http.router"

TOKEN_REQUIREMENT = "token"  # noqa: S105 (a name, not a secret)
"""Name of the requirement that routes of non-public methods ask for."""

SUBJECT_HEADER = "x-mlmesh-subject"
"""Header with the caller's subject, set from the verified token, for rate limits and the access log."""

METADATA = "mlmesh"
"""Namespace of what a route says of its method."""

CALLER_KEY = "caller"
"""In a route's metadata: the rate class, where calls are counted by subject."""

ADDRESS_KEY = "address"
"""In a route's metadata: the rate class, where calls are counted by the peer's address."""

_SUBJECT = "subject"
_REMOTE_ADDRESS = "remote_address"  # the name that Envoy gives it

_USERS = "users"
_KEY_PREFIX = "mlm_"
_COMPRESSED_TYPES = (
    "application/json",
    "application/javascript",
    "text/javascript",
    "text/css",
    "text/html",
    "text/plain",
    "image/svg+xml",
)
_SMALLEST_COMPRESSED_BYTES = 1024
_JWT_CACHE_ENTRIES = 1000  # per worker
_LONGEST_TOKEN_BYTES = 16 * 1024
_API_KEY_TIMEOUT_S = 5.0


def http_filters(descriptors: bytes, services: Sequence[str], settings: GatewaySettings) -> list[hcm_pb2.HttpFilter]:
    """Returns the filter chain.

    The transcoder stands before everything that decides, so that routes, credentials and limits are stated once, by gRPC method, and
    refusals leave it in the same shape as errors of servers.

    Args:
        descriptors: Serialized descriptor set.
        services: Full names of the services to transcode.
        settings: Limits.
    """
    return [
        _filter(COMPRESSOR, _compressor()),
        _filter(CORS, cors_pb2.Cors()),
        _filter(GRPC_WEB, grpc_web_pb2.GrpcWeb()),
        _filter(TRANSCODER, _transcoder(descriptors, services, settings)),
        _filter(API_KEY, _api_keys()),
        _discovered(JWT, jwt_pb2.JwtAuthentication.DESCRIPTOR.full_name),
        _filter(RATE_LIMIT, _rate_limit(settings)),
        _filter(BODY_LIMIT, buffer_pb2.Buffer(max_request_bytes=uint32(settings.max_body_bytes))),
        _filter(GRPC_STATS, _grpc_stats()),
        _filter(ROUTER, router_pb2.Router(suppress_envoy_headers=True)),
    ]


def jwt_authn(jwks: str, settings: GatewaySettings) -> extension_pb2.TypedExtensionConfig:
    """Returns the filter that verifies tokens.

    It travels apart from the listener, because a listener that changes drains its connections, and keys rotate.

    Args:
        jwks: JSON Web Key Set of the users server.
        settings: Issuer and audience.
    """
    provider = jwt_pb2.JwtProvider(
        issuer=settings.issuer,
        audiences=[settings.audience],
        local_jwks=base_pb2.DataSource(inline_string=jwks),
        # Servers verify it again.
        forward=True,
        from_headers=[jwt_pb2.JwtHeader(name="authorization", value_prefix="Bearer ")],
        claim_to_headers=[jwt_pb2.JwtClaimToHeader(header_name=SUBJECT_HEADER, claim_name="sub")],
        clock_skew_seconds=max(1, round(settings.token_leeway_s)),
        require_expiration=True,
        jwt_cache_config=jwt_pb2.JwtCacheConfig(jwt_cache_size=_JWT_CACHE_ENTRIES, jwt_max_token_size=_LONGEST_TOKEN_BYTES),
    )
    config = jwt_pb2.JwtAuthentication(
        providers={"mesh": provider},
        requirement_map={TOKEN_REQUIREMENT: jwt_pb2.JwtRequirement(provider_name="mesh")},
        bypass_cors_preflight=True,
    )
    return extension_pb2.TypedExtensionConfig(name=JWT, typed_config=any_of(config))


def _filter(name: str, config: Message) -> hcm_pb2.HttpFilter:
    return hcm_pb2.HttpFilter(name=name, typed_config=any_of(config))


def _discovered(name: str, type_name: str) -> hcm_pb2.HttpFilter:
    source = config_source_pb2.ExtensionConfigSource(config_source=ads_source(), type_urls=[f"type.googleapis.com/{type_name}"])
    return hcm_pb2.HttpFilter(name=name, config_discovery=source)


def _compressor() -> compressor_pb2.Compressor:
    common = compressor_pb2.Compressor.CommonDirectionConfig(
        min_content_length=uint32(_SMALLEST_COMPRESSED_BYTES),
        content_type=_COMPRESSED_TYPES,
    )
    return compressor_pb2.Compressor(
        response_direction_config=compressor_pb2.Compressor.ResponseDirectionConfig(
            common_config=common,
            remove_accept_encoding_header=True,
        ),
        compressor_library=extension_pb2.TypedExtensionConfig(
            name="envoy.compression.gzip.compressor",
            typed_config=any_of(
                gzip_pb2.Gzip(memory_level=uint32(5), window_bits=uint32(12), compression_level=gzip_pb2.Gzip.COMPRESSION_LEVEL_3)
            ),
        ),
    )


def _transcoder(descriptors: bytes, services: Sequence[str], settings: GatewaySettings) -> transcoder_pb2.GrpcJsonTranscoder:
    return transcoder_pb2.GrpcJsonTranscoder(
        proto_descriptor_bin=descriptors,
        services=services,
        convert_grpc_status=True,
        url_unescape_spec=transcoder_pb2.GrpcJsonTranscoder.ALL_CHARACTERS,
        query_param_unescape_plus=True,
        match_unregistered_custom_verb=True,
        print_options=transcoder_pb2.GrpcJsonTranscoder.PrintOptions(
            preserve_proto_field_names=True,
            always_print_primitive_fields=True,
            stream_newline_delimited=True,
        ),
        request_validation_options=transcoder_pb2.GrpcJsonTranscoder.RequestValidationOptions(
            reject_unknown_method=True,
            reject_unknown_query_parameters=True,
            reject_binding_body_field_collisions=True,
        ),
        max_request_body_size=uint32(settings.max_body_bytes),
        max_response_body_size=uint32(settings.max_body_bytes),
    )


def _api_keys() -> extension_matcher_pb2.ExtensionWithMatcher:
    service = grpc_service_pb2.GrpcService(envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=_USERS))
    service.timeout.CopyFrom(seconds(_API_KEY_TIMEOUT_S))
    check = ext_authz_pb2.ExtAuthz(
        grpc_service=service,
        transport_api_version=config_source_pb2.V3,
        status_on_error=http_status_pb2.HttpStatus(code=http_status_pb2.ServiceUnavailable),
        failure_mode_allow=False,
    )
    return extension_matcher_pb2.ExtensionWithMatcher(
        extension_config=extension_pb2.TypedExtensionConfig(name=API_KEY, typed_config=any_of(check)),
        xds_matcher=_skip_unless_key(),
    )


def _skip_unless_key() -> matcher_pb2.Matcher:
    predicate = matcher_pb2.Matcher.MatcherList.Predicate
    has_key = predicate(
        or_matcher=predicate.PredicateList(
            predicate=[
                _header_matches("x-api-key", string_pb2.StringMatcher(safe_regex=regex_pb2.RegexMatcher(google_re2={}, regex=".+"))),
                _header_matches("authorization", string_pb2.StringMatcher(prefix=f"Bearer {_KEY_PREFIX}")),
            ]
        )
    )
    skip = matcher_pb2.Matcher.OnMatch(
        action=xds_extension_pb2.TypedExtensionConfig(name="skip", typed_config=any_of(skip_action_pb2.SkipFilter()))
    )
    matcher = matcher_pb2.Matcher.MatcherList.FieldMatcher(predicate=predicate(not_matcher=has_key), on_match=skip)
    return matcher_pb2.Matcher(matcher_list=matcher_pb2.Matcher.MatcherList(matchers=[matcher]))


def _header_matches(name: str, value: string_pb2.StringMatcher) -> matcher_pb2.Matcher.MatcherList.Predicate:
    header = xds_extension_pb2.TypedExtensionConfig(
        name="header",
        typed_config=any_of(http_inputs_pb2.HttpRequestHeaderMatchInput(header_name=name)),
    )
    predicate = matcher_pb2.Matcher.MatcherList.Predicate
    return predicate(single_predicate=predicate.SinglePredicate(input=header, value_match=value))


def _rate_limit(settings: GatewaySettings) -> local_rate_limit_pb2.LocalRateLimit:
    always = base_pb2.RuntimeFractionalPercent(default_value=percent_pb2.FractionalPercent(numerator=100))
    return local_rate_limit_pb2.LocalRateLimit(
        stat_prefix="callers",
        filter_enabled=always,
        filter_enforced=always,
        # Asked only where no descriptor fits, which no route allows.
        token_bucket=_bucket(2**31, 2**31),
        always_consume_default_token_bucket=boolean(False),
        descriptors=[
            _descriptor(rate_class, key, value, settings)
            for rate_class in RateClass
            for key, value in ((CALLER_KEY, _SUBJECT), (ADDRESS_KEY, _REMOTE_ADDRESS))
        ],
        rate_limits=[_by_subject(), _by_address()],
        max_dynamic_descriptors=uint32(settings.max_callers),
        rate_limited_as_resource_exhausted=True,
        enable_x_ratelimit_headers=ratelimit_pb2.DRAFT_VERSION_03,
    )


def _by_subject() -> route_components_pb2.RateLimit:
    header = route_components_pb2.RateLimit.Action.RequestHeaders(header_name=SUBJECT_HEADER, descriptor_key=_SUBJECT)
    action = route_components_pb2.RateLimit.Action
    return route_components_pb2.RateLimit(actions=[_rate_class(CALLER_KEY), action(request_headers=header)])


def _by_address() -> route_components_pb2.RateLimit:
    action = route_components_pb2.RateLimit.Action
    return route_components_pb2.RateLimit(actions=[_rate_class(ADDRESS_KEY), action(remote_address=action.RemoteAddress())])


def _rate_class(key: str) -> route_components_pb2.RateLimit.Action:
    # A route without this key makes no descriptor, so of the two limits exactly one counts.
    segment = metadata_pb2.MetadataKey.PathSegment(key=key)
    source = route_components_pb2.RateLimit.Action.MetaData(
        descriptor_key=key,
        metadata_key=metadata_pb2.MetadataKey(key=METADATA, path=[segment]),
        source=route_components_pb2.RateLimit.Action.MetaData.ROUTE_ENTRY,
    )
    return route_components_pb2.RateLimit.Action(metadata=source)


def _descriptor(rate_class: RateClass, key: str, value: str, settings: GatewaySettings) -> ratelimit_pb2.LocalRateLimitDescriptor:
    limit = settings.rate_limit(rate_class)
    entry = ratelimit_pb2.RateLimitDescriptor.Entry
    return ratelimit_pb2.LocalRateLimitDescriptor(
        # An entry without a value has a bucket of its own for every value that comes.
        entries=[entry(key=key, value=rate_class.value), entry(key=value)],
        token_bucket=_bucket(limit.burst, limit.per_second),
    )


def _bucket(burst: int, per_second: int) -> token_bucket_pb2.TokenBucket:
    return token_bucket_pb2.TokenBucket(max_tokens=burst, tokens_per_fill=uint32(per_second), fill_interval=seconds(1))


def _grpc_stats() -> grpc_stats_pb2.FilterConfig:
    return grpc_stats_pb2.FilterConfig(stats_for_all_methods=boolean(False), enable_upstream_stats=False)
