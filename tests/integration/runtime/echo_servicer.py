"""The servicer behind the test contract, with every way to fail that a real one has."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy
from mlmesh_test.v1 import echo_pb2 as pb
from mlmesh_test.v1 import echo_pb2_grpc

from servers.runtime.auth import current_principal, current_project
from servers.runtime.errors import FailedPrecondition, NotFound
from servers.runtime.streams import wait_unless_ending, with_end
from servers.runtime.telemetry import span


class EchoNotFound(NotFound):
    reason = "ECHO_NOT_FOUND"


def fail(how: str) -> None:
    if how == "not_found":
        raise EchoNotFound("No echo here.", resource=("echo", "here"), metadata={"place": "here"})
    if how == "precondition":
        raise FailedPrecondition("The state is A; B is allowed.", preconditions=[("STATE", "echo", "is A, has to be B")])
    if how == "bug":
        raise RuntimeError("the password is hunter2")
    if how == "huge":
        many = [("ü" * 200, "ü" * 400)] * 50
        raise FailedPrecondition("ü" * 3000, field_violations=many, metadata={"ü" * 60: "ü" * 900})
    if how == "database":
        raise sqlalchemy.exc.OperationalError("SELECT 1", {}, _locked())


def _locked() -> Exception:
    import sqlite3

    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


class EchoServicer(echo_pb2_grpc.EchoServiceServicer):
    def __init__(self) -> None:
        self.create: Callable[[], int] = self._count
        self.things_created = 0
        self._lock = threading.Lock()
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.fail_next = ""
        self.fail_after = ""

    def Echo(self, request: Any, context: Any) -> Any:
        fail(request.fail)
        with span("echo.work", size=len(request.text)):
            return pb.EchoResponse(text=request.text)

    def EchoMany(self, request: Any, context: Any) -> Iterator[Any]:
        if request.text == "endless":
            return with_end(self._endless(), pb.EchoResponse)
        return with_end(self._many(request), pb.EchoResponse)

    def _many(self, request: Any) -> Iterator[Any]:
        for number in range(request.count):
            yield pb.EchoResponse(text=f"{request.text}{number}")
        fail(request.fail)

    def _endless(self) -> Iterator[Any]:
        yield pb.EchoResponse(text="first")
        while wait_unless_ending(0.05):
            yield pb.EchoResponse(text="tick")

    def Collect(self, request_iterator: Iterator[Any], context: Any) -> Any:
        texts = []
        for request in request_iterator:
            fail(request.fail)
            texts.append(request.text)
        return pb.EchoResponse(text=",".join(texts))

    def Chat(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:
        yield pb.EchoResponse(text="hello")
        for request in request_iterator:
            fail(request.fail)
            yield pb.EchoResponse(text=request.text)

    def CreateThing(self, request: Any, context: Any) -> Any:
        how, self.fail_next = self.fail_next, ""
        fail(how)
        number = self.create()
        self.entered.set()
        self.go_on.wait(60)
        how, self.fail_after = self.fail_after, ""
        fail(how)
        return pb.Thing(name=request.thing.name or f"thing-{number}", number=number)

    def _count(self) -> int:
        with self._lock:
            self.things_created += 1
            return self.things_created

    def WhoAmI(self, request: Any, context: Any) -> Any:
        principal = current_principal()
        return pb.WhoAmIResponse(subject=principal.subject, kind=principal.kind, project=current_project())

    def Ping(self, request: Any, context: Any) -> Any:
        threading.Event().wait(request.work_ms / 1000)
        return pb.PingResponse()
