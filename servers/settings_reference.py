"""Every setting of the mesh, read out of the settings classes, for `mlmesh up --help` and the documentation."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic_settings import BaseSettings

from servers.runtime.settings import ServerSettings
from servers.runtime.supervision_limits import SupervisionLimits
from servers.topology import COMPONENTS


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        scope: `every server`, `supervisor`, or the component it belongs to.
        variable: Environment variable that sets it.
        kind: Type, in words of Python.
        default: Default, as it would be written in the environment; empty where it is computed.
        description: What it does, with its unit.
    """

    scope: str
    variable: str
    kind: str
    default: str
    description: str


def all_settings() -> list[Setting]:
    """Returns the settings of the supervisor, those every server has, and those of each component."""
    found = [*_settings("supervisor", SupervisionLimits, "MLMESH_MESH_"), *_settings("every server", ServerSettings, "MLMESH_")]
    shared = frozenset(ServerSettings.model_fields)
    for name, module in (*((component.name, component.module) for component in COMPONENTS), ("gateway", "gateway")):
        for kind in _settings_classes(f"{module}.settings"):
            found += _settings(name, kind, f"MLMESH_{name.upper()}_", without=shared)
    return found


def _settings_classes(module: str) -> list[type[BaseSettings]]:
    members = vars(importlib.import_module(module)).values()
    return [kind for kind in members if isinstance(kind, type) and issubclass(kind, BaseSettings) and kind.__module__ == module]


def _settings(scope: str, kind: type[BaseSettings], prefix: str, without: frozenset[str] = frozenset()) -> Iterator[Setting]:
    descriptions = _descriptions(kind)
    for name, info in kind.model_fields.items():
        if name not in without:
            default = info.get_default(call_default_factory=True)
            text = "" if info.is_required() or default in (None, "", {}) else str(default)
            yield Setting(scope, f"{prefix}{name.upper()}", _in_words(info.annotation), text, descriptions.get(name, ""))


def _descriptions(kind: type[BaseSettings]) -> dict[str, str]:
    """Reads the strings below the fields out of the source: pydantic would, too, but at each start of each server."""
    found: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        if not issubclass(cls, BaseSettings) or cls is BaseSettings:
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        for field, following in itertools.pairwise(definition.body if isinstance(definition, ast.ClassDef) else ()):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(following, ast.Expr):
                text = following.value.value if isinstance(following.value, ast.Constant) else None
                if isinstance(text, str):
                    found[field.target.id] = " ".join(text.split())
    return found


def _in_words(annotation: object) -> str:
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_in_words(part) for part in typing.get_args(annotation) if part is not type(None))
    if origin is typing.Literal:
        return " | ".join(str(value) for value in typing.get_args(annotation))
    if origin is not None:
        return str(annotation).replace("typing.", "")
    return "text" if annotation is str else getattr(annotation, "__name__", str(annotation)).lower()
