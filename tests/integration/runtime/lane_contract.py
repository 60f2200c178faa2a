"""The contract `mlops.lanetest.v1`, compiled for the tests and served by a servicer with every way to behave that a lane has to carry."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.api import annotations_pb2  # noqa: F401 (its descriptors have to be in the pool before those that import them)
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from mlops.common.v1 import options_pb2  # noqa: F401

from servers.runtime.errors import FailedPrecondition, NotFound

SERVICE = "mlops.lanetest.v1.LaneTestService"
ROOT = Path(__file__).parents[3]
MESH_DESCRIPTORS = ROOT / "gen/descriptors/mlops.binpb"
_PROTO = "mlops/lanetest/v1/lane.proto"


@functools.cache
def descriptors() -> bytes:
    """The descriptor set of the mesh with the test's own contract added, for a gateway."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lane.binpb"
        arguments = [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{Path(__file__).parent / 'contracts'}",
            f"--descriptor_set_in={MESH_DESCRIPTORS}",
        ]
        subprocess.run([*arguments, f"--descriptor_set_out={out}", _PROTO], check=True)
        own = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    mesh = descriptor_pb2.FileDescriptorSet.FromString(MESH_DESCRIPTORS.read_bytes())
    (file,) = own.file
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    mesh.file.append(file)
    return mesh.SerializeToString()


@functools.cache
def message(name: str) -> Any:
    """Class of a message of the contract."""
    descriptors()
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(f"mlops.lanetest.v1.{name}"))


def add_servicer(servicer: Any, server: Any) -> None:
    """What generated code would do."""
    descriptors()
    handlers = {}
    for method in descriptor_pool.Default().FindServiceByName(SERVICE).methods:
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        request, response = message_factory.GetMessageClass(method.input_type), message_factory.GetMessageClass(method.output_type)
        behaviour = getattr(servicer, method.name)
        handlers[method.name] = make(behaviour, request_deserializer=request.FromString, response_serializer=response.SerializeToString)
    server.add_registered_method_handlers(SERVICE, handlers)


def stub(channel: grpc.Channel, name: str) -> Any:
    """Calls a method of the contract."""
    descriptors()
    method = descriptor_pool.Default().FindServiceByName(SERVICE).methods_by_name[name]
    open_one: Any = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[method.client_streaming, method.server_streaming]
    response = message_factory.GetMessageClass(method.output_type)
    request = message_factory.GetMessageClass(method.input_type)
    return open_one(f"/{SERVICE}/{name}", request_serializer=request.SerializeToString, response_deserializer=response.FromString)


class LaneTestServicer:
    """Behaves as `Ask.how` says. What tests wait for is counted and announced by events."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.was_cancelled = threading.Event()
        self.ended = threading.Event()
        self.produced = 0
        self.consumed = 0
        self.metadata: dict[str, Any] = {}

    # The methods of the contract.

    def One(self, request: Any, context: Any) -> Any:
        self._enter("One", context)
        return self._answer(request, context)

    def Private(self, request: Any, context: Any) -> Any:
        self._enter("Private", context)
        return self._answer(request, context)

    async def Later(self, request: Any, context: Any) -> Any:
        self._enter("Later", context)
        if request.how == "hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled.set()
                raise
        if request.how == "cancel-itself":
            await _cancelled()
        await asyncio.sleep(0)
        return self._answer(request, context)

    def Many(self, request: Any, context: Any) -> Iterator[Any]:
        self._enter("Many", context)
        return self._many(request, context)

    def Collect(self, requests: Iterator[Any], context: Any) -> Any:
        self._enter("Collect", context)
        try:
            texts, size = [], 0
            for request in requests:
                self.consumed += 1
                self._fail(request.how)
                if request.how == "early":
                    return message("Answer")(text="early")
                if request.how == "wait":
                    self.go_on.wait(60)
                texts.append(request.text)
                size += len(request.data)
            return message("Answer")(text=",".join(filter(None, texts)), count=size)
        finally:
            self.ended.set()

    def Chat(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        self._enter("Chat", context)
        for request in requests:
            self._fail(request.how)
            yield message("Answer")(text=request.text)

    def Fields(self, request: Any, context: Any) -> HttpBody:
        self._enter("Fields", context)
        return self._described(request)

    FieldsAndBody = Fields

    async def FieldsLater(self, request: Any, context: Any) -> HttpBody:
        self._enter("FieldsLater", context)
        await asyncio.sleep(0)
        return self._described(request)

    def Upload(self, requests: Iterator[Any], context: Any) -> Any:
        self._enter("Upload", context)
        try:
            name, size = "", 0
            for request in requests:
                self.consumed += len(request.body.data)
                name = name or request.text
                self._fail(name)
                if name == "wait":
                    self.go_on.wait(60)
                size += len(request.body.data)
            return message("Answer")(text=name, count=size)
        finally:
            self.ended.set()

    def Download(self, request: Any, context: Any) -> Iterator[HttpBody]:
        self._enter("Download", context)
        self._fail(request.text)
        try:
            for _ in range(request.number32):
                self.produced += 1
                yield HttpBody(content_type="application/x-test", data=bytes(max(1, request.number64)))
            self._fail(request.inner.text)
        finally:
            self.ended.set()

    # What they share.

    def _enter(self, name: str, context: Any) -> None:
        self.calls.append(name)
        self.metadata = dict(context.invocation_metadata())
        self.entered.set()

    def _answer(self, request: Any, context: Any) -> Any:
        self._fail(request.how)
        if request.how == "wait":
            self.go_on.wait(60)
        if request.how == "metadata":
            context.send_initial_metadata((("x-initial", "first"), ("x-initial-bin", b"\x00\xff")))
            context.set_trailing_metadata((("x-trailing", "last"), ("x-trailing-bin", b"\xff\x00")))
        if request.how == "injection":
            context.send_initial_metadata((("x-initial", request.text),))
        return message("Answer")(text=request.text, data=request.data, count=request.count)

    def _many(self, request: Any, context: Any) -> Iterator[Any]:
        try:
            if request.how == "metadata":
                context.send_initial_metadata((("x-initial", "first"),))
                context.set_trailing_metadata((("x-trailing", "last"),))
            if request.how == "injection":
                context.send_initial_metadata((("x-initial", request.text),))
            if request.how == "at-once":
                self._fail(request.text)
            for number in range(request.count):
                self.produced += 1
                yield message("Answer")(text=f"{request.text}{number}", data=request.data)
            if request.how == "half-way":
                self._fail(request.text)
        finally:
            self.ended.set()

    def _described(self, request: Any) -> HttpBody:
        self._fail(request.text)
        copy = message("FieldSet")()
        copy.CopyFrom(request)
        copy.ClearField("body")
        text = text_format.MessageToString(copy, as_utf8=True)
        body = f"{request.body.content_type}|".encode() + request.body.data
        return HttpBody(content_type="text/plain", data=text.encode() + b"--\n" + body)

    def _fail(self, how: str) -> None:
        if how == "not-found":
            raise NotFound("Nothing here: 100 % ünfindbar.", resource=("thing", "it"), metadata={"place": "here"})
        if how == "precondition":
            raise FailedPrecondition("It is A; B is allowed.", preconditions=[("STATE", "it", "is A, has to be B")], retry_after_s=2)
        if how == "bug":
            raise RuntimeError("the password is hunter2")


async def _cancelled() -> None:
    """Ends as if something inside the call was cancelled."""
    inner: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    inner.cancel()
    await inner
