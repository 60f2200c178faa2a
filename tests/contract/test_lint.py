from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf import descriptor_pb2

from tools.contracts import layout, lint

Change = Callable[[descriptor_pb2.FileDescriptorProto], None]


def _changed(image: bytes, change: Change) -> bytes:
    contracts = descriptor_pb2.FileDescriptorSet.FromString(image)
    (file,) = (each for each in contracts.file if each.name == "mlops/common/v1/log.proto")
    change(file)
    return contracts.SerializeToString()


def _remove_field(file: descriptor_pb2.FileDescriptorProto) -> None:
    del file.message_type[0].field[2]


def _change_type(file: descriptor_pb2.FileDescriptorProto) -> None:
    file.message_type[0].field[3].type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES


def _rename_value(file: descriptor_pb2.FileDescriptorProto) -> None:
    file.enum_type[0].value[1].name = "LOG_LEVEL_VERBOSE"


def _name_badly(file: descriptor_pb2.FileDescriptorProto) -> None:
    file.message_type[0].field[2].name = "Source"


def _remove_comments(file: descriptor_pb2.FileDescriptorProto) -> None:
    for location in file.source_code_info.location:
        location.ClearField("leading_comments")


def test_the_contracts_have_good_style(image: bytes) -> None:
    assert lint.style_findings(image) == []


def test_the_contracts_break_no_client_of_the_last_release(image: bytes) -> None:
    assert lint.breaking_findings(image, layout.BASELINE.read_bytes()) == []


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (_name_badly, 'Field name "Source" should be lower_snake_case'),
        (_remove_comments, "should have a non-empty comment for documentation"),
    ],
)
def test_bad_style_is_found(image: bytes, change: Change, finding: str) -> None:
    assert any(finding in each for each in lint.style_findings(_changed(image, change)))


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (_remove_field, 'Previously present field "3" with name "source"'),
        (_change_type, 'Field "4" with name "text" on message "LogLine" changed type from "string" to "bytes"'),
        (_rename_value, 'Enum value "1" on enum "LogLevel" changed name'),
    ],
)
def test_a_breaking_change_is_found(image: bytes, change: Change, finding: str) -> None:
    found = lint.breaking_findings(_changed(image, change), image)

    assert any(finding in each for each in found), found
