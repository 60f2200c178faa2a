"""Messages and enums as JSON schemas, in the JSON that the gateway's transcoder speaks.

Names stay as in the contract, 64-bit integers are strings, enums are names, bytes are base64.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from tools.contracts.openapi import constraints
from tools.contracts.openapi.constraints import Rules, Schema
from tools.contracts.reading import OUR_PACKAGES, Contracts

_REFERENCE = "#/components/schemas/"
ERROR = "Error"
ERROR_REFERENCE: Schema = {"$ref": f"{_REFERENCE}{ERROR}"}

_TIMESTAMP: Schema = {"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00.250Z"]}
_DURATION: Schema = {"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$", "examples": ["1.5s"]}
_FIELD_MASK: Schema = {"type": "string", "description": "Field names, separated by commas.", "examples": ["description,tags"]}

# Types whose JSON form is their own, by full name (protobuf's JSON mapping).
WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": _TIMESTAMP,
    "google.protobuf.Duration": _DURATION,
    "google.protobuf.FieldMask": _FIELD_MASK,
    "google.protobuf.Empty": {"type": "object", "maxProperties": 0},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.ListValue": {"type": "array"},
    "google.protobuf.Value": {},
    "google.protobuf.Any": {"type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}}},
    "google.protobuf.DoubleValue": constraints.number({}, is_double=True),
    "google.protobuf.FloatValue": constraints.number({}, is_double=False),
    "google.protobuf.Int64Value": constraints.big_integer({}, is_unsigned=False),
    "google.protobuf.UInt64Value": constraints.big_integer({}, is_unsigned=True),
    "google.protobuf.Int32Value": constraints.small_integer({}, is_unsigned=False),
    "google.protobuf.UInt32Value": constraints.small_integer({}, is_unsigned=True),
    "google.protobuf.BoolValue": {"type": "boolean"},
    "google.protobuf.StringValue": {"type": "string"},
    "google.protobuf.BytesValue": constraints.base64({}),
    "google.rpc.Status": ERROR_REFERENCE,
}
# Those of them that are one value, so that a query parameter can carry them.
TEXTUAL = frozenset(name for name, schema in WELL_KNOWN.items() if schema.get("type") not in (None, "object", "array") or "anyOf" in schema)

_SCALARS: dict[str, Callable[[Rules], Schema]] = {
    "string": constraints.string,
    "bytes": constraints.base64,
    "bool": constraints.boolean,
    "double": partial(constraints.number, is_double=True),
    "float": partial(constraints.number, is_double=False),
    **{name: partial(constraints.small_integer, is_unsigned=False) for name in ("int32", "sint32", "sfixed32")},
    **{name: partial(constraints.small_integer, is_unsigned=True) for name in ("uint32", "fixed32")},
    **{name: partial(constraints.big_integer, is_unsigned=False) for name in ("int64", "sint64", "sfixed64")},
    **{name: partial(constraints.big_integer, is_unsigned=True) for name in ("uint64", "fixed64")},
}


def component_name(full_name: str) -> str:
    """Returns the name of a type in `components/schemas`; stable, whatever other components come to hold."""
    return full_name.removeprefix(OUR_PACKAGES)


def map_entry(field: FieldDescriptor) -> Descriptor | None:
    """Returns the entry type of a map field, None for any other field."""
    described = field.message_type
    return described if described is not None and described.GetOptions().map_entry else None


def is_required(contracts: Contracts, field: FieldDescriptor) -> bool:
    """Says whether a request without the field is refused."""
    return "REQUIRED" in contracts.behaviors(field)


class Schemas:
    """The schemas that a document refers to; a type joins them when it is first referred to.

    Args:
        contracts: Where rules and comments are read.
    """

    def __init__(self, contracts: Contracts) -> None:
        self._contracts = contracts
        self._components: dict[str, Schema] = {}

    def components(self) -> dict[str, Schema]:
        """Returns every schema referred to so far, by name."""
        return dict(sorted(self._components.items()))

    def add(self, name: str, schema: Schema) -> Schema:
        """Adds a schema under a name of its own and returns the reference to it."""
        self._components[name] = schema
        return {"$ref": f"{_REFERENCE}{name}"}

    def message(self, described: Descriptor) -> Schema:
        """Returns the schema of a message, or the reference to it."""
        if described.full_name in WELL_KNOWN:
            return WELL_KNOWN[described.full_name]
        name = component_name(described.full_name)
        if name not in self._components:
            self._components[name] = {}  # a message may contain itself
            self._components[name] = self.properties(described)
        return {"$ref": f"{_REFERENCE}{name}"}

    def properties(self, described: Descriptor, *, without: Collection[str] = (), is_partial: bool = False) -> Schema:
        """Returns the schema of a message, spelled out.

        Args:
            described: The message.
            without: Fields to leave out, since the path carries them.
            is_partial: Whether every field may be left out, as in an update.
        """
        fields = [field for field in described.fields if field.name not in without]
        schema: Schema = {"type": "object"}
        if comment := self._contracts.comment(described.full_name):
            schema["description"] = comment
        if required := [field.name for field in fields if not is_partial and is_required(self._contracts, field)]:
            schema["required"] = required
        schema["properties"] = {field.name: self.field(field) for field in fields}
        schema["propertyNames"] = {"minLength": 1}  # unknown names are ignored, but a name there must be
        if choices := self._choices(described, without):
            schema["allOf"] = choices
        return schema

    def field(self, field: FieldDescriptor) -> Schema:
        """Returns the schema of a field with its rules, its comment and who may write it."""
        schema = dict(self._value(field, self._contracts.field_rules(field)))
        behaviors = self._contracts.behaviors(field)
        if comment := self._contracts.comment(field.full_name):
            schema["description"] = comment
        if "OUTPUT_ONLY" in behaviors:
            schema["readOnly"] = True
        if "INPUT_ONLY" in behaviors:
            schema["writeOnly"] = True
        if field.GetOptions().deprecated:
            schema["deprecated"] = True
        return schema

    def _value(self, field: FieldDescriptor, rules: Rules) -> Schema:
        if rules.get("ignore") == constraints.IGNORE_ALWAYS:
            rules = {}
        if entry := map_entry(field):
            of_map = _asked(rules, "map", "min_pairs")
            keys = self._single(entry.fields_by_name["key"], of_map.get("keys", {}))
            values = self._single(entry.fields_by_name["value"], of_map.get("values", {}))
            # The keys of a JSON object are strings, whatever the keys of the map.
            return constraints.mapping(of_map, keys if keys.get("type") == "string" else {"type": "string"}, values)
        if field.is_repeated:
            of_list = _asked(rules, "repeated", "min_items")
            return constraints.array(of_list, self._single(field, of_list.get("items", {})))
        return self._single(field, rules)

    def _single(self, field: FieldDescriptor, rules: Rules) -> Schema:
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            return self._enum(field.enum_type, rules)
        kind = descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()  # type: ignore[arg-type]
        schema = _SCALARS[kind](_asked(rules, kind, "min_len") if kind in ("string", "bytes") else rules.get(kind, {}))
        if is_required(self._contracts, field):
            return schema  # the zero value is let in for updates only, which leave the field out
        return constraints.relaxed(rules, schema, "" if schema.get("type") == "string" else 0)

    def _enum(self, described: EnumDescriptor, rules: Rules) -> Schema:
        name = component_name(described.full_name)
        if name not in self._components:
            self._components[name] = {
                "type": "string",
                "enum": [value.name for value in described.values],
                "description": self._enum_description(described),
            }
        schema: Schema = {"$ref": f"{_REFERENCE}{name}"}
        if refused := constraints.refused_numbers(rules.get("enum", {})):
            schema["not"] = {"enum": [described.values_by_number[each].name for each in refused]}
        return schema

    def _enum_description(self, described: EnumDescriptor) -> str:
        lines = [f"- `{value.name}`: {self._contracts.comment(f'{described.full_name}.{value.name}')}" for value in described.values]
        return "\n".join([self._contracts.comment(described.full_name), "", *lines])

    def _choices(self, described: Descriptor, without: Collection[str]) -> list[Schema]:
        """Returns one schema a oneof: that at most one, or exactly one, of its members is there."""
        choices = []
        for oneof in described.oneofs:
            members = [{"required": [field.name]} for field in oneof.fields if field.name not in without]
            is_optional_field = len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}"
            if is_optional_field or not members:
                continue
            none: list[Schema] = [] if self._contracts.is_oneof_required(oneof) else [{"not": {"anyOf": members}}]
            choices.append({"oneOf": [*members, *none]})
        return choices


def _asked(rules: Rules, kind: str, minimum: str) -> Rules:
    """Returns the rules of a kind; that the field itself is required means one element or character at least."""
    stated = dict(rules.get(kind, {}))
    if rules.get("required"):
        stated.setdefault(minimum, 1)
    return stated
