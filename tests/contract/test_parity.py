"""Stub = servicer = client: no method of a contract without an implementation and without a way to call it."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.contracts import layout
from tools.contracts.reading import Contracts

_SERVERS = layout.REPOSITORY / "servers"
_CLIENT = layout.REPOSITORY / "clients" / "python" / "mlmesh"
# Every server answers this one for the system monitor; it is called inside of the mesh only.
_INTERNAL = {"mlops.common.v1.ComponentService"}
# Protocols of others, so it is their clients that call them.
_CALLED_BY_OTHERS = {"mlops.serving.v1.OpenInferenceService", "mlops.features.v1.FeastService"}
# Called by servers only: the outbox of audit events, and the poll for revoked sessions.
_CALLED_BY_SERVERS = {"AppendAuditEvents", "ListRevocations"}


def _servicer_modules() -> Iterator[str]:
    patterns = ("*/servicer.py", "*/*/servicer.py", "*/*/rest_servicer.py", "*/component.py")
    for path in sorted(path for pattern in patterns for path in _SERVERS.glob(pattern)):
        yield ".".join(path.relative_to(layout.REPOSITORY).with_suffix("").parts)


def _generated_base(candidate: type) -> type | None:
    """Returns the generated servicer that a class implements, None where it implements none of ours."""
    for base in candidate.__mro__[1:]:
        if base.__module__.startswith("mlops.") and base.__module__.endswith("_pb2_grpc") and base.__name__.endswith("Servicer"):
            return base
    return None


def _implementations() -> dict[str, list[type]]:
    """Returns the servicers in servers/ by full name of their service."""
    found: dict[str, list[type]] = {}
    for name in _servicer_modules():
        for candidate in vars(importlib.import_module(name)).values():
            if not inspect.isclass(candidate) or candidate.__module__ != name:
                continue
            if base := _generated_base(candidate):
                package = base.__module__.rpartition(".")[0]
                found.setdefault(f"{package}.{base.__name__.removesuffix('Servicer')}", []).append(candidate)
    return found


@pytest.fixture(scope="module")
def implementations() -> dict[str, list[type]]:
    return _implementations()


def test_every_service_has_exactly_one_servicer(contracts: Contracts, implementations: dict[str, list[type]]) -> None:
    assert {service.full_name for service in contracts.services()} == implementations.keys()
    assert {name: found for name, found in implementations.items() if len(found) != 1} == {}


def test_every_servicer_implements_every_method_of_its_contract(contracts: Contracts, implementations: dict[str, list[type]]) -> None:
    missing = []
    for service in contracts.services():
        for servicer in implementations.get(service.full_name, []):
            base, name = _generated_base(servicer), f"{servicer.__module__}.{servicer.__name__}"
            missing += [
                f"{name}.{method.name}" for method in service.methods if getattr(servicer, method.name) is getattr(base, method.name)
            ]

    assert missing == []


def test_a_servicer_has_no_method_that_its_contract_does_not_know(contracts: Contracts, implementations: dict[str, list[type]]) -> None:
    unknown = []
    for service in contracts.services():
        known = {method.name for method in service.methods}
        for servicer in implementations.get(service.full_name, []):
            unknown += [f"{servicer.__name__}.{name}" for name in vars(servicer) if name[0].isupper() and name not in known]

    assert unknown == []


def _names_in(folder: Path, pattern: str) -> set[str]:
    """Returns every name and attribute that the Python files of a folder mention."""
    names = set()
    for path in folder.glob(pattern):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.Name):
                names.add(node.id)
    return names


def test_the_python_client_calls_every_method(contracts: Contracts) -> None:
    # Every method has a request type of its own, so a client that never makes it cannot call the method.
    mentioned = _names_in(_CLIENT, "**/*.py")
    uncalled = [
        method.full_name
        for service in contracts.services()
        if service.full_name not in _INTERNAL | _CALLED_BY_OTHERS
        for method in service.methods
        if method.input_type.name not in mentioned and method.name not in _CALLED_BY_SERVERS
    ]

    assert uncalled == []
