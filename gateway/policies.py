"""What the contracts say of every method, read from the descriptor set."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2
from mlops.common.v1 import options_pb2

from servers.runtime.lane.templates import http_rules

# googleapis-common-protos types its extensions as plain descriptors.
_HTTP: Any = annotations_pb2.http

_HTTP_BODY = ".google.api.HttpBody"
_ROOT = "mlops."
_INTERNAL_PACKAGE = "mlops.common.v1"  # ComponentService is on every server, so no path of it leads to one of them


class RateClass(enum.StrEnum):
    """The bucket from which a caller's request is taken."""

    READ = "READ"
    WRITE = "WRITE"
    PREDICT = "PREDICT"
    TRANSFER = "TRANSFER"
    AUTH = "AUTH"


class ContractError(Exception):
    """A method of the descriptor set does not state its policy."""


@dataclass(frozen=True)
class HttpRule:
    """One REST path of a method.

    Args:
        verb: HTTP method, upper case.
        template: Path template, for example `/api/v1/models/{name}`.
        is_raw: Whether the body of the request, or of the answer, is bytes instead of JSON made of messages.
    """

    verb: str
    template: str
    is_raw: bool = False


@dataclass(frozen=True)
class Method:
    """One method of the mesh.

    Args:
        service: Full name of its service.
        name: Name within the service.
        component: Component that serves it.
        is_public: Whether it needs no token.
        is_repeatable: Whether a repeat of the same request is safe.
        rate_class: Bucket of its calls.
        is_client_streaming: Whether requests are a stream.
        is_server_streaming: Whether answers are a stream.
        http_rules: Its REST paths.
        is_ours: Whether it belongs to a contract of ours, and not to a protocol that the mesh speaks as others do.
    """

    service: str
    name: str
    component: str
    is_public: bool
    is_repeatable: bool
    rate_class: RateClass
    is_client_streaming: bool
    is_server_streaming: bool
    http_rules: tuple[HttpRule, ...]
    is_ours: bool = True

    @property
    def path(self) -> str:
        """Path of the gRPC call."""
        return f"/{self.service}/{self.name}"

    @property
    def is_streaming(self) -> bool:
        """Whether it streams in either direction."""
        return self.is_client_streaming or self.is_server_streaming


def read_methods(descriptors: descriptor_pb2.FileDescriptorSet, protocols: Mapping[str, str] | None = None) -> tuple[Method, ...]:
    """Reads all methods that the gateway offers.

    Args:
        descriptors: Files with their imports, as `gen/descriptors` has them.
        protocols: Component by package, where the files are protocols that are not ours.

    Returns:
        Methods, sorted by path.

    Raises:
        ContractError: A method has no access level, idempotency level or rate class.
    """
    raw_fields = frozenset(_fields_of_bytes(descriptors))
    methods = [
        replace(_method(file.package, component, service.name, method, raw_fields), is_ours=protocols is None)
        for file in descriptors.file
        if (component := _component(file.package) if protocols is None else protocols.get(file.package))
        for service in file.service
        for method in service.method
    ]
    return tuple(sorted(methods, key=lambda method: method.path))


def services_of(methods: Iterable[Method]) -> tuple[str, ...]:
    """Full names of the services of some methods, sorted."""
    return tuple(sorted({method.service for method in methods}))


def components_of(methods: Iterable[Method]) -> frozenset[str]:
    """Names of the components of some methods."""
    return frozenset(method.component for method in methods)


def _fields_of_bytes(descriptors: descriptor_pb2.FileDescriptorSet) -> Iterator[tuple[str, str]]:
    for file in descriptors.file:
        for message in file.message_type:
            for field in message.field:
                if field.type_name == _HTTP_BODY:
                    yield f".{file.package}.{message.name}", field.name


def _component(package: str) -> str | None:
    return package.split(".")[1] if package.startswith(_ROOT) and package != _INTERNAL_PACKAGE else None


def _method(
    package: str,
    component: str,
    service: str,
    method: descriptor_pb2.MethodDescriptorProto,
    raw_fields: frozenset[tuple[str, str]],
) -> Method:
    policy = method.options.Extensions[options_pb2.policy]
    full_name = f"{package}.{service}" if package else service
    if not (policy.access and policy.idempotency and policy.rate_class):
        raise ContractError(f"{full_name}.{method.name} states no policy: access, idempotency and rate_class are required")
    return Method(
        service=full_name,
        name=method.name,
        component=component,
        is_public=policy.access == options_pb2.ACCESS_PUBLIC,
        is_repeatable=policy.idempotency in (options_pb2.IDEMPOTENCY_READ_ONLY, options_pb2.IDEMPOTENCY_IDEMPOTENT),
        rate_class=RateClass(options_pb2.RateClass.Name(policy.rate_class).removeprefix("RATE_CLASS_")),
        is_client_streaming=method.client_streaming,
        is_server_streaming=method.server_streaming,
        http_rules=tuple(
            HttpRule(verb, template, (method.input_type, body) in raw_fields or (method.output_type == _HTTP_BODY and not body))
            for verb, template, body in http_rules(method.options.Extensions[_HTTP])
        ),
    )
