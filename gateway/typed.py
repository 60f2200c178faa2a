"""Protobuf messages the way xDS wants them."""

from __future__ import annotations

from google.protobuf import any_pb2, duration_pb2, wrappers_pb2
from google.protobuf.message import Message


def any_of(message: Message) -> any_pb2.Any:
    """Packs a message with its type. Equal messages give equal bytes, also in another process: versions are made of them."""
    packed = any_pb2.Any()
    packed.Pack(message, deterministic=True)
    return packed


def seconds(value: float) -> duration_pb2.Duration:
    """Returns a duration of some seconds."""
    return duration_pb2.Duration(seconds=int(value), nanos=round((value - int(value)) * 1e9))


def uint32(value: int) -> wrappers_pb2.UInt32Value:
    """Returns a number that is told apart from "not set"."""
    return wrappers_pb2.UInt32Value(value=value)


def boolean(value: bool) -> wrappers_pb2.BoolValue:
    """Returns a truth value that is told apart from "not set"."""
    return wrappers_pb2.BoolValue(value=value)
