"""One REST binding of one method as an OpenAPI operation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from tools.contracts.openapi import bodies, errors, paths
from tools.contracts.openapi.constraints import Schema
from tools.contracts.openapi.schemas import TEXTUAL, WELL_KNOWN, Schemas, component_name, is_required, map_entry
from tools.contracts.reading import Contracts, HttpBinding, Policy

BEARER, API_KEY = "bearer", "apiKey"
_JSON, _JSON_LINES, _FORM = "application/json", "application/x-ndjson", "application/x-www-form-urlencoded"


class NoPolicy(ValueError):
    """A method with a REST binding states no `mlops.common.v1.policy`."""


@dataclass(frozen=True)
class Operation:
    """Where an operation stands in the document, and what it says."""

    path: str
    verb: str
    content: Schema


class Operations:
    """Makes operations.

    Args:
        contracts: Where methods, comments and options are read.
        schemas: Takes the schemas that operations refer to.
    """

    def __init__(self, contracts: Contracts, schemas: Schemas) -> None:
        self._contracts = contracts
        self._schemas = schemas

    def of(self, method: MethodDescriptor) -> Iterator[Operation]:
        """Yields one operation a binding of the method.

        Raises:
            NoPolicy: The method says nothing of who may call it.
            UnsupportedTemplate: OpenAPI cannot say a path of it.
            UndescribedBody: It carries an HttpBody that nobody described.
        """
        for number, binding in enumerate(self._contracts.bindings(method), start=1):
            template = paths.parse(binding.template)
            content = self._content(method, binding, template, "" if number == 1 else f"_{number}")
            yield Operation(path=template.path, verb=binding.verb.lower(), content=content)

    def _content(self, method: MethodDescriptor, binding: HttpBinding, template: paths.Template, suffix: str) -> Schema:
        policy = self._contracts.policy(method)
        if policy is None:
            raise NoPolicy(f"{method.full_name} has no mlops.common.v1.policy")
        comment = self._contracts.comment(method.full_name)
        content: Schema = {
            "operationId": f"{method.containing_service.name}_{method.name}{suffix}",
            "tags": [method.containing_service.name],
            "summary": comment.split(". ")[0].removesuffix("."),
            "description": comment,
        }
        parameters = [*self._path_parameters(method, template), *self._query_parameters(method, binding, template)]
        if parameters:
            content["parameters"] = parameters
        body = self._request_body(method, binding, template, suffix)
        if body:
            content["requestBody"] = body
        content["responses"] = {
            "200": self._answer(method),
            **errors.answers_of(policy, service=method.containing_service.full_name, has_body=body is not None),
        }
        content["security"] = _security(policy)
        if method.GetOptions().deprecated:
            content["deprecated"] = True
        content["x-mlmesh-method"] = f"/{method.containing_service.full_name}/{method.name}"
        content["x-mlmesh-policy"] = _policy(policy)
        return content

    def _path_parameters(self, method: MethodDescriptor, template: paths.Template) -> Iterator[Schema]:
        for variable in template.variables:
            schema = self._schemas.field(paths.resolve(method.input_type, variable.path))
            for keyword in ("readOnly", "writeOnly"):
                schema.pop(keyword, None)
            if schema.get("type") == "string" and "pattern" not in schema:
                schema.setdefault("minLength", 1)  # an empty segment is another path
            parameter = {"name": variable.name, "in": "path", "required": True, "description": schema.pop("description", "")}
            if variable.spans_segments:
                parameter["description"] += " May contain `/`."
            yield {**parameter, "schema": schema}

    def _query_parameters(self, method: MethodDescriptor, binding: HttpBinding, template: paths.Template) -> list[Schema]:
        if binding.body == "*":
            return []
        taken = {variable.path for variable in template.variables} | {binding.body}
        return list(self._as_query([method.input_type], "", taken, is_needed=True))

    def _as_query(self, way: list[Descriptor], prefix: str, taken: set[str], *, is_needed: bool) -> Iterator[Schema]:
        """Yields a parameter for every field that neither path nor body carries.

        Fields of messages are named `outer.inner`; `way` holds the messages down to here, since one that contains itself has no end.
        """
        for field in way[-1].fields:
            path = prefix + field.name
            if path in taken or "OUTPUT_ONLY" in self._contracts.behaviors(field) or not _fits_query(field):
                continue
            needed = is_needed and is_required(self._contracts, field)
            inner = field.message_type
            if inner is not None and inner.full_name not in TEXTUAL:
                if inner not in way:
                    yield from self._as_query([*way, inner], f"{path}.", taken, is_needed=needed)
                continue
            schema = self._schemas.field(field)
            parameter = {"name": path, "in": "query", "required": needed, "description": schema.pop("description", "")}
            for keyword in ("readOnly", "writeOnly"):
                schema.pop(keyword, None)
            yield {**parameter, "schema": schema}

    def _request_body(self, method: MethodDescriptor, binding: HttpBinding, template: paths.Template, suffix: str) -> Schema | None:
        if not binding.body:
            return None
        described = method.input_type
        prefix = ""
        if binding.body != "*":
            field = described.fields_by_name[binding.body]
            if field.message_type is None or field.is_repeated:
                return {"required": True, "content": {_JSON: {"schema": self._schemas.field(field)}}}
            described, prefix = field.message_type, f"{binding.body}."
        if described.full_name == bodies.HTTP_BODY:
            return {"required": True, "content": _content(bodies.raw_request(method.full_name))}
        bound = {variable.path.removeprefix(prefix) for variable in template.variables if variable.path.startswith(prefix)}
        is_partial = binding.verb == "PATCH"
        schema = self._schemas.properties(described, without=bound, is_partial=is_partial)
        is_needed = bool(schema.get("required"))
        if bound or is_partial:
            reference = self._schemas.add(f"{component_name(method.input_type.full_name)}.Body{suffix}", schema)
        else:
            reference = self._schemas.message(described)
        if method.client_streaming:
            reference = {"type": "array", "items": reference}
        types = [_JSON, _FORM] if method.full_name in bodies.ALSO_AS_FORM else [_JSON]
        return {"required": is_needed, "content": {kind: {"schema": reference} for kind in types}}

    def _answer(self, method: MethodDescriptor) -> Schema:
        described = method.output_type
        if described.full_name == bodies.HTTP_BODY:
            return {"description": "The content.", "content": _content(bodies.raw_response(method.full_name))}
        schema = self._schemas.message(described)
        if described.full_name in WELL_KNOWN:
            return {"description": "Done.", "content": {_JSON: {"schema": schema}}}
        comment = self._contracts.comment(described.full_name)
        if method.server_streaming:
            description = f"A stream: one JSON document a line, the last one with `end`. Each line: {comment}"
            return {"description": description, "content": {_JSON_LINES: {"schema": schema}}}
        return {"description": comment, "content": {_JSON: {"schema": schema}}}


def _fits_query(field: FieldDescriptor) -> bool:
    """Says whether a query can carry a field: not a map, a list of messages, or JSON without a fixed form."""
    if field.message_type is None:
        return True
    if map_entry(field) is not None or field.is_repeated:
        return False
    name = field.message_type.full_name
    return name in TEXTUAL or (name not in WELL_KNOWN and name != bodies.HTTP_BODY)


def _content(described: bodies.Content) -> Schema:
    return {kind: {"schema": schema} for kind, schema in described.items()}


def _security(policy: Policy) -> list[Schema]:
    if policy.access == "ACCESS_PUBLIC":
        return []
    # OpenAPI 3.1 lets any scheme name the roles it asks for: here, the permission.
    roles = [policy.permission] if policy.permission else []
    return [{BEARER: roles}, {API_KEY: roles}]


def _policy(policy: Policy) -> Schema:
    stated: Schema = {"access": policy.access.removeprefix("ACCESS_").lower()}
    if policy.permission:
        stated["permission"] = policy.permission
    return {
        **stated,
        "idempotency": policy.idempotency.removeprefix("IDEMPOTENCY_").lower(),
        "audited": policy.is_audited,
        "rate_class": policy.rate_class.removeprefix("RATE_CLASS_").lower(),
    }
