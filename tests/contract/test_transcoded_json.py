"""The JSON schemas against the two authorities: protobuf's JSON mapping and protovalidate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import protovalidate
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.populated_messages import kind_of, load_contracts, message_class, populated
from tools.contracts import compiler
from tools.contracts.openapi import document
from tools.contracts.openapi.schemas import Schemas
from tools.contracts.reading import OUR_PACKAGES, Contracts

load_contracts()

_VALIDATOR = protovalidate.Validator()
_INTEGERS = {"int32": (32, True), "uint32": (32, False), "int64": (64, True), "uint64": (64, False)}


@pytest.fixture(scope="module")
def ruled() -> list[tuple[FieldDescriptor, dict[str, Any], jsonschema_rs.Draft202012Validator]]:
    """Every scalar field with rules: the field, its rules, and a validator of its JSON."""
    contracts = Contracts.of_image(compiler.compile_image(with_comments=False))
    openapi, schemas = document.build(contracts), Schemas(contracts)
    found = []
    for field in _scalar_fields(contracts):
        schema = {**schemas.field(field), "components": {"schemas": {**openapi["components"]["schemas"], **schemas.components()}}}
        found.append((field, dict(contracts.field_rules(field)), jsonschema_rs.Draft202012Validator(schema, validate_formats=True)))
    return found


def _scalar_fields(contracts: Contracts) -> Iterator[FieldDescriptor]:
    for described in contracts.messages():
        for field in described.fields:
            if field.message_type is None and not field.is_repeated and contracts.field_rules(field) and field.containing_oneof is None:
                yield field


def _values(field: FieldDescriptor, rules: dict[str, Any]) -> SearchStrategy[Any]:
    kind = kind_of(field)
    stated = rules.get(kind, {})
    if kind == "string":
        lengths = [stated[name] for name in ("min_len", "max_len") if name in stated]
        near = st.sampled_from([max(0, length + step) for length in lengths or [0] for step in (-1, 0, 1)])
        some = [st.text(max_size=20), near.map("é".__mul__)]
        if "pattern" in stated:
            some.append(st.from_regex(stated["pattern"]).map(lambda text: text.removesuffix("\n")))
        if "uuid" in stated:
            some.append(st.uuids().map(str))
        return st.one_of(some)
    if kind == "enum":
        return st.sampled_from([value.number for value in field.enum_type.values]) if field.enum_type else st.just(0)
    if kind == "bytes":
        return st.binary(max_size=20)
    if kind == "double":
        return st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5]), st.floats(allow_nan=False, allow_infinity=False))
    bits, is_signed = _INTEGERS[kind]
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    return st.one_of(st.sampled_from([lowest, -1 if is_signed else 0, 0, 1, highest]), st.integers(lowest, highest))


@given(data=st.data())
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_fields_schema_takes_exactly_the_values_that_its_rules_take(
    ruled: list[tuple[FieldDescriptor, dict[str, Any], jsonschema_rs.Draft202012Validator]], data: st.DataObject
) -> None:
    field, rules, schema = data.draw(st.sampled_from(ruled), label="field")
    sent = message_class(field.containing_type.full_name)()
    value = data.draw(_values(field, rules), label=field.full_name)
    assume(value or not rules.get("ignore"))  # a zero that is ignored means that the field was left out
    setattr(sent, field.name, value)

    violations = _VALIDATOR.collect_violations(sent)
    is_refused = any([each.field_name for each in (v.proto.field.elements if v.proto.field else [])] == [field.name] for v in violations)
    printed = json_format.MessageToDict(sent, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)[field.name]

    # The sign of a 64-bit integer is all that its schema says of the range.
    assert schema.is_valid(printed) != is_refused, f"{field.full_name} = {printed!r}: refused by the server is {is_refused}"


@pytest.fixture(scope="module")
def answers() -> dict[str, jsonschema_rs.Draft202012Validator]:
    """A validator for every message that a method answers with."""
    contracts = Contracts.of_image(compiler.compile_image(with_comments=False))
    components = document.build(contracts)["components"]
    schemas = Schemas(contracts)
    return {
        answer.full_name: jsonschema_rs.Draft202012Validator({**schemas.message(answer), "components": components}, validate_formats=True)
        for answer in {method.output_type for method in contracts.methods() if contracts.bindings(method)}
        if answer.full_name.startswith(OUR_PACKAGES)
    }


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_server_answers_has_the_types_of_its_schema(
    answers: dict[str, jsonschema_rs.Draft202012Validator], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(answers)), label="answer")
    answer = data.draw(populated(name), label="content")
    printed = json_format.MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)

    # Lengths, patterns and forms of strings are the server's to keep; here they are arbitrary.
    wrong = [
        error
        for error in answers[name].iter_errors(printed)
        if error.kind.name in ("type", "anyOf", "enum") or getattr(error.kind, "format", "") == "date-time"
    ]

    assert [f"{list(error.instance_path)}: {error.message}" for error in wrong] == []
