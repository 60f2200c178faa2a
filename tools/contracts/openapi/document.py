"""The whole OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable

from tools.contracts.openapi import errors, paths
from tools.contracts.openapi.constraints import Schema
from tools.contracts.openapi.operations import API_KEY, BEARER, Operations
from tools.contracts.openapi.schemas import Schemas
from tools.contracts.reading import Contracts

_DESCRIPTION = """\
REST surface of mlmesh. The same methods answer gRPC and gRPC-Web on the same port; `x-mlmesh-method` names each.

- 64-bit integers are strings, bytes are base64, enums are names, times are RFC 3339, durations are seconds with an `s`.
- In answers every plain field is there, also where it is zero or empty; a message, a member of a oneof and an `optional` field is there
  when it is set.
- Fields that a body has and the contract does not are ignored; query parameters that the contract does not have are refused.
- `google.protobuf.FieldMask` is a string of field names, separated by commas.
- Every error has the JSON shape `Error`.
- `x-mlmesh-policy` says who may call a method, whether a repeat is safe, and which rate limit it counts to."""


class PathClash(ValueError):
    """Two bindings have the same verb and path, or paths that differ in the names of their variables only."""


def build(contracts: Contracts) -> Schema:
    """Returns the OpenAPI 3.1 document of every REST binding.

    Args:
        contracts: The contracts with their comments.

    Raises:
        PathClash: Two methods claim the same path.
        ValueError: A binding cannot be described; the message says which and why.
    """
    schemas = Schemas(contracts)
    errors.add_error_schema(contracts, schemas)
    operations = Operations(contracts, schemas)
    found: dict[str, Schema] = {}
    for method in contracts.methods():
        for operation in operations.of(method):
            verbs = found.setdefault(operation.path, {})
            if operation.verb in verbs:
                raise PathClash(f"{operation.verb.upper()} {operation.path}: {method.full_name} and {verbs[operation.verb]['operationId']}")
            verbs[operation.verb] = operation.content
    _check_names(found)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlmesh",
            "version": "v1",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": service.name, "description": contracts.comment(service.full_name)}
            for service in contracts.services()
            if any(contracts.bindings(method) for method in service.methods)
        ],
        "paths": {path: dict(sorted(found[path].items())) for path in sorted(found)},
        "components": {
            "schemas": schemas.components(),
            "responses": errors.responses(),
            "securitySchemes": {
                BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "Access token of `/api/v1/auth/login`."},
                API_KEY: {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "API key, `mlm_<id>_<secret>`."},
            },
        },
    }


def _check_names(found: Iterable[str]) -> None:
    """OpenAPI takes `/models/{name}` and `/models/{model}` for the same path, and allows one of them."""
    by_shape: dict[str, str] = {}
    for path in found:
        other = by_shape.setdefault(paths.shape(path), path)
        if other != path:
            raise PathClash(f"{path} and {other} are one path; name their variables alike")
