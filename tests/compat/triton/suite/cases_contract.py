"""The messages are those of the client, number by number."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from tritonclient.grpc import model_config_pb2, service_pb2

# A descriptor set is data: nothing of the mesh is imported.
OURS = Path(os.environ.get("DESCRIPTORS", Path(__file__).resolve().parents[4] / "gen" / "descriptors" / "inference.binpb"))


def files() -> tuple[descriptor_pb2.FileDescriptorProto, list[descriptor_pb2.FileDescriptorProto]]:
    (ours,) = [file for file in descriptor_pb2.FileDescriptorSet.FromString(OURS.read_bytes()).file if file.package == "inference"]
    theirs = []
    for module in (service_pb2, model_config_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        theirs.append(file)
    return ours, theirs


def fields(messages: Any, prefix: str = "") -> dict[tuple[str, int], tuple[str, int, int, str]]:
    """Everything that decides how a field travels."""
    found = {}
    for message in messages:
        name = f"{prefix}{message.name}"
        found |= {(name, field.number): (field.name, field.type, field.label, field.type_name) for field in message.field}
        found |= fields(message.nested_type, f"{name}.")
    return found


def test_every_field_has_the_clients_number_name_and_type() -> None:
    ours, theirs = files()
    known = {key: value for file in theirs for key, value in fields(file.message_type).items()}

    assert {key: value for key, value in fields(ours.message_type).items() if known.get(key) != value} == {}


def test_every_enum_has_the_clients_numbers() -> None:
    ours, theirs = files()
    known = {enum.name: {value.name: value.number for value in enum.value} for file in theirs for enum in file.enum_type}

    assert {enum.name: {value.name: value.number for value in enum.value} for enum in ours.enum_type}.items() <= known.items()


def test_every_call_of_the_client_is_there_and_streams_alike() -> None:
    ours, theirs = files()
    (called,) = theirs[0].service
    (served,) = ours.service

    assert {(method.name, method.client_streaming, method.server_streaming) for method in served.method} == {
        (method.name, method.client_streaming, method.server_streaming) for method in called.method
    }


def test_the_messages_of_a_prediction_are_whole() -> None:
    ours, theirs = files()
    names = ("ModelInferRequest", "ModelInferResponse", "InferTensorContents", "InferParameter", "ModelStreamInferResponse")

    def of(messages: Any) -> dict[tuple[str, int], Any]:
        return {key: value for key, value in fields(messages).items() if key[0].split(".")[0] in names}

    assert of(ours.message_type) == of(theirs[0].message_type)
