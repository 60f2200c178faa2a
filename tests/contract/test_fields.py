from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor

from tools.contracts import exemptions
from tools.contracts.reading import Contracts, type_of

_OPENINGS = {"REQUIRED": "Required.", "OPTIONAL": "Optional.", "OUTPUT_ONLY": "Output only."}


def _fields(contracts: Contracts) -> Iterator[FieldDescriptor]:
    for message in contracts.messages():
        if message.full_name not in exemptions.MESSAGES_WITHOUT_FIELD_BEHAVIOR:
            yield from message.fields


def test_every_exemption_is_still_of_something(contracts: Contracts) -> None:
    methods = {method.full_name for method in contracts.methods()}
    messages = {message.full_name for message in contracts.messages()}
    templates = {binding.template for method in contracts.methods() for binding in contracts.bindings(method)}
    streamed = {method.output_type.full_name for method in contracts.methods() if method.server_streaming}

    assert set(exemptions.MESSAGES_WITHOUT_FIELD_BEHAVIOR) <= messages
    assert set(exemptions.UNAUDITED_CHANGES) | set(exemptions.LISTS_WITHOUT_PAGES) <= methods
    assert set(exemptions.PATHS_OUTSIDE_API) <= templates
    assert set(exemptions.MESSAGES_OF_STREAMS_WITHOUT_END) <= streamed


def test_every_field_is_exactly_one_of_required_optional_and_output_only(contracts: Contracts) -> None:
    wrong = {
        field.full_name: behaviors
        for field in _fields(contracts)
        if len(set(behaviors := contracts.behaviors(field)) & _OPENINGS.keys()) != 1
    }

    assert wrong == {}


def test_every_fields_comment_opens_with_its_behavior(contracts: Contracts) -> None:
    wrong = {}
    for field in _fields(contracts):
        comment = contracts.comment(field.full_name)
        opening = next((_OPENINGS[each] for each in contracts.behaviors(field) if each in _OPENINGS), "?")
        if not comment.startswith(f"{opening} "):
            wrong[field.full_name] = comment

    assert wrong == {}


def test_immutable_and_input_only_stand_in_comment_and_option_alike(contracts: Contracts) -> None:
    wrong = {}
    for field in _fields(contracts):
        comment, behaviors = contracts.comment(field.full_name), contracts.behaviors(field)
        for behavior, words in {"IMMUTABLE": "Immutable.", "INPUT_ONLY": "Input only."}.items():
            if (behavior in behaviors) != (f". {words}" in comment):
                wrong[field.full_name] = comment

    assert wrong == {}


def test_nothing_goes_without_a_comment(contracts: Contracts) -> None:
    names = [file.name for file in contracts.our_files()]
    names += [service.full_name for service in contracts.services()]
    names += [method.full_name for method in contracts.methods()]
    for message in contracts.messages():
        names += [message.full_name, *(field.full_name for field in message.fields)]
    for enum in contracts.enums():
        names += [enum.full_name, *(f"{enum.full_name}.{value.name}" for value in enum.values)]

    assert [name for name in names if not contracts.comment(name) and not name.endswith(".proto")] == []
    assert [file.name for file in contracts.our_files() if not contracts.file_comment(file)] == []


def test_the_zero_of_every_enum_means_nothing(contracts: Contracts) -> None:
    assert [enum.full_name for enum in contracts.enums() if not enum.values_by_number[0].name.endswith("_UNSPECIFIED")] == []


def test_every_state_but_the_last_says_what_may_follow(contracts: Contracts) -> None:
    silent = []
    for enum in contracts.enums():
        if not enum.name.endswith("State"):
            continue
        for value in enum.values[1:]:
            comment = contracts.comment(f"{enum.full_name}.{value.name}")
            if not any(word in comment for word in ("ay become", "becomes", "Final")):
                silent.append(f"{value.name}: {comment}")

    assert silent == []


def test_times_and_quantities_carry_their_unit(contracts: Contracts) -> None:
    wrong = []
    for field in _fields(contracts):
        kind = type_of(field)
        is_time = kind == "google.protobuf.Timestamp"
        if is_time and not (field.name == "time" or field.name.endswith("_time")):
            wrong.append(f"{field.full_name}: a Timestamp is named …_time")
        if not is_time and field.name.endswith("_time"):
            wrong.append(f"{field.full_name}: …_time is a Timestamp")
        if field.name in ("size", "timeout", "latency", "memory", "duration", "offset") and not kind:
            wrong.append(f"{field.full_name}: has no unit")

    assert [each for each in wrong if each.partition(":")[0] not in exemptions.FIELDS_WITHOUT_UNIT] == []


def test_every_required_field_refuses_to_be_left_out_or_its_zero_is_a_value(contracts: Contracts) -> None:
    # A required message, and a required name, must be enforced by a rule; a required number or list may mean its zero.
    lax = []
    for field in _fields(contracts):
        if "REQUIRED" not in contracts.behaviors(field) or field.is_repeated:
            continue
        if type_of(field) not in ("", "google.api.HttpBody") and not contracts.field_rules(field).get("required"):
            lax.append(field.full_name)

    assert lax == []
