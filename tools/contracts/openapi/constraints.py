"""`buf.validate` rules as JSON Schema keywords.

Only what JSON Schema can say is said: a rule without a counterpart (CEL, timestamps relative to now) stays in the field's comment and
is still enforced by the server. So a document that fits the schema may be refused, and one that does not fit is refused for sure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]
Rules = Mapping[str, Any]

IGNORE_IF_ZERO_VALUE, IGNORE_ALWAYS = 1, 3

_FORMATS = {
    "uuid": "uuid",
    "email": "email",
    "hostname": "hostname",
    "ipv4": "ipv4",
    "ipv6": "ipv6",
    "uri": "uri",
    "uri_ref": "uri-reference",
}
_INT32 = {"minimum": -(2**31), "maximum": 2**31 - 1}
_UINT32 = {"minimum": 0, "maximum": 2**32 - 1}
_NON_FINITE = ["NaN", "Infinity", "-Infinity"]


def string(rules: Rules) -> Schema:
    """Returns the schema of a string under `StringRules`."""
    schema: Schema = {"type": "string"}
    _copy(rules, schema, {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern", "const": "const", "in": "enum"})
    if "len" in rules:
        schema["minLength"] = schema["maxLength"] = rules["len"]
    if "not_in" in rules:
        schema["not"] = {"enum": rules["not_in"]}
    parts = {"prefix": "^{}", "suffix": "{}$", "contains": "{}"}
    patterns = [{"pattern": shape.format(re.escape(rules[name]))} for name, shape in parts.items() if name in rules]
    if patterns:
        schema["allOf"] = patterns
    for rule, name in _FORMATS.items():
        if rules.get(rule):
            schema["format"] = name
    return schema


def base64(rules: Rules) -> Schema:
    """Returns the schema of bytes under `BytesRules`; their limits are of bytes, those of the schema of base64 characters."""
    schema: Schema = {"type": "string", "format": "byte", "contentEncoding": "base64"}
    if "max_len" in rules:
        schema["maxLength"] = -(-rules["max_len"] // 3) * 4
    if rules.get("min_len"):
        # Padding may be left out, so the shortest text is that of the bits alone.
        schema["minLength"] = -(-rules["min_len"] * 8 // 6)
    return schema


def small_integer(rules: Rules, *, is_unsigned: bool) -> Schema:
    """Returns the schema of a 32-bit integer, which travels as a JSON number."""
    schema: Schema = {"type": "integer", "format": "uint32" if is_unsigned else "int32", **(_UINT32 if is_unsigned else _INT32)}
    return _range(rules, schema)


def big_integer(rules: Rules, *, is_unsigned: bool) -> Schema:
    """Returns the schema of a 64-bit integer, which travels as a JSON string since numbers lose digits above 2^53.

    Of the range only its lower end can be said, and only where that is -1, 0 or 1.
    """
    schema: Schema = {"type": "string", "format": "uint64" if is_unsigned else "int64"}
    if "in" in rules:
        return {**schema, "enum": [str(each) for each in rules["in"]]}
    if "const" in rules:
        return {**schema, "const": str(rules["const"])}
    lowest = rules["gt"] + 1 if "gt" in rules else rules.get("gte", 0 if is_unsigned else -(2**63))
    digits = 19 if is_unsigned else 18
    patterns = {1: f"^[1-9][0-9]{{0,{digits}}}$", 0: f"^(0|[1-9][0-9]{{0,{digits}}})$", -1: f"^(-1|0|[1-9][0-9]{{0,{digits}}})$"}
    any_sign = f"^(0|-?[1-9][0-9]{{0,{digits}}})$"
    schema["pattern"] = patterns[min(lowest, 1)] if lowest >= -1 else any_sign
    return schema


def number(rules: Rules, *, is_double: bool) -> Schema:
    """Returns the schema of a float; what is not finite travels as a string."""
    schema = _range(rules, {"type": "number", "format": "double" if is_double else "float"})
    if rules.get("finite") or {"gt", "gte", "lt", "lte"} & rules.keys():
        return schema
    return {"anyOf": [schema, {"type": "string", "enum": _NON_FINITE}]}


def boolean(rules: Rules) -> Schema:
    """Returns the schema of a bool under `BoolRules`."""
    schema: Schema = {"type": "boolean"}
    return _copy(rules, schema, {"const": "const"})


def refused_numbers(rules: Rules) -> list[int]:
    """Returns the numbers that `EnumRules` refuse."""
    return list(rules.get("not_in", []))


def array(rules: Rules, items: Schema) -> Schema:
    """Returns the schema of a repeated field under `RepeatedRules`."""
    schema: Schema = {"type": "array", "items": items}
    if rules.get("unique"):
        schema["uniqueItems"] = True
    return _copy(rules, schema, {"min_items": "minItems", "max_items": "maxItems"})


def mapping(rules: Rules, keys: Schema, values: Schema) -> Schema:
    """Returns the schema of a map under `MapRules`."""
    schema: Schema = {"type": "object", "additionalProperties": values}
    if keys != {"type": "string"}:
        schema["propertyNames"] = keys
    return _copy(rules, schema, {"min_pairs": "minProperties", "max_pairs": "maxProperties"})


def relaxed(rules: Rules, schema: Schema, zero: Any) -> Schema:
    """Returns the schema with the zero value let in, where `ignore` says that the rules do not hold for it."""
    return {"anyOf": [{"const": zero}, schema]} if rules.get("ignore") == IGNORE_IF_ZERO_VALUE else schema


def _range(rules: Rules, schema: Schema) -> Schema:
    schema = _copy(
        rules,
        schema,
        {"gte": "minimum", "gt": "exclusiveMinimum", "lte": "maximum", "lt": "exclusiveMaximum", "const": "const", "in": "enum"},
    )
    if "not_in" in rules:
        schema["not"] = {"enum": rules["not_in"]}
    return schema


def _copy(rules: Rules, schema: Schema, names: Mapping[str, str]) -> Schema:
    schema.update({keyword: rules[rule] for rule, keyword in names.items() if rule in rules})
    return schema
