"""What a lane serves, found by path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from servers.runtime.calls import Method
from servers.runtime.lane.context import LaneContext
from servers.runtime.lane.rest_codec import RestBinding
from servers.runtime.lane.templates import PathTemplate, Variables
from servers.runtime.lane.wires import GrpcWire, RestWire

Serve = Callable[[Any, LaneContext], Any]
"""Runs a call through the interceptors. Gives the answer, an iterator of answers, or a coroutine, as the method's kind says."""

_GRPC = GrpcWire()
_REMEMBERED_PATHS, _REMEMBERED_CHARS = 1024, 256


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method in one of its two forms.

    Args:
        method: The method.
        serve: Runs a call.
        wire: Writes the answer.
    """

    method: Method
    serve: Serve
    wire: GrpcWire | RestWire


@dataclass
class Endpoints:
    """All endpoints of a lane."""

    _by_path: dict[str, Endpoint] = field(default_factory=dict)
    _rest: dict[str, list[tuple[PathTemplate, Endpoint]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Callers come back to the same few paths, and to match a dozen templates takes longer than to remember.
        self._found = lru_cache(maxsize=_REMEMBERED_PATHS)(self._find)

    def add_grpc(self, method: Method, serve: Serve) -> None:
        """Adds a method's gRPC form."""
        self._by_path[method.path] = Endpoint(method, serve, _GRPC)

    def add_rest(self, method: Method, serve: Serve, binding: RestBinding, wire: RestWire) -> None:
        """Adds a method at a REST path."""
        found = self._rest.setdefault(binding.verb, [])
        found.append((binding.template, Endpoint(method, serve, wire)))
        found.sort(key=lambda entry: entry[0].rank)
        self._found.cache_clear()

    def grpc(self, path: str) -> Endpoint | None:
        """The method that is called by a gRPC path."""
        return self._by_path.get(path)

    def rest(self, verb: str, path: str) -> tuple[Endpoint, Variables] | None:
        """The method at a REST path, with the path's variables."""
        return (self._found if len(path) <= _REMEMBERED_CHARS else self._find)(verb, path)

    def _find(self, verb: str, path: str) -> tuple[Endpoint, Variables] | None:
        for template, endpoint in self._rest.get(verb, ()):
            variables = template.match(path)
            if variables is not None:
                return endpoint, variables
        return None
