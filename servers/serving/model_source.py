"""Where models come from, as serving sees it: versions to resolve and files to fetch."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from servers.serving.errors import InvalidModelChoice

DEFAULT_PROJECT = "default"
STAGES = ("none", "development", "staging", "production", "archived")
"""Stages of a version, as a choice names them."""

Key = tuple[str, str, int]
"""Project, name and version."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


class ModelChoice(NamedTuple):
    """Which version of a model is meant. At most one of `version`, `alias` and `stage` is set.

    Args:
        project: Project of the model.
        name: Name of the model.
        version: Version number; 0 leaves it open.
        alias: Alias of the version; empty leaves it open.
        stage: Stage of the version, lower case; empty leaves it open.
    """

    project: str
    name: str
    version: int = 0
    alias: str = ""
    stage: str = ""

    def __str__(self) -> str:
        chosen = (
            f" version {self.version}"
            if self.version
            else f" alias `{self.alias}`"
            if self.alias
            else f" stage `{self.stage}`"
            if self.stage
            else ""
        )
        return f"model `{self.name}`{chosen} in project `{self.project}`"


@functools.lru_cache(maxsize=4096)
def model_choice(name: str, *, project: str = "", version: int = 0, alias: str = "", stage: str = "", field: str = "model") -> ModelChoice:
    """Checks what a request says about the model.

    Args:
        name: Name of the model.
        project: Project; empty means `default`.
        version: Version number; 0 = not chosen.
        alias: Alias; empty = not chosen.
        stage: Stage, in any case; empty = not chosen.
        field: Field of the request that names the model.

    Raises:
        InvalidModelChoice: If the name is missing or cannot be one, the stage is unknown, or there is more than one choice.
    """
    if not name:
        text = "no model is named; call /api/v1/models/{name}/predict, or name it as `model` in the body"
        raise InvalidModelChoice(text, field_violations=[(field, text)])
    if not _NAME.fullmatch(name):
        text = f"`{name[:100]}` cannot be the name of a model: letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
        raise InvalidModelChoice(text, field_violations=[(field, text)])
    chosen = [key for key, value in (("version", version), ("alias", alias), ("stage", stage)) if value]
    if len(chosen) > 1:
        text = f"choose the version by one of version, alias and stage; got {' and '.join(chosen)}"
        raise InvalidModelChoice(text, field_violations=[(key, text) for key in chosen])
    stage = stage.lower()
    if stage and stage not in STAGES:
        text = f"unknown stage `{stage[:100]}`; stages are {', '.join(STAGES)}"
        raise InvalidModelChoice(text, field_violations=[("stage", text)])
    return ModelChoice(project or DEFAULT_PROJECT, name, version, alias, stage)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a version.

    Args:
        path: Relative path with `/`.
        digest: `sha256:` and 64 hexadecimal digits.
        size_bytes: Its length.
    """

    path: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """One version of a model, READY in the registry.

    Args:
        project: Project of the model.
        name: Name of the model.
        version: Version number.
        format: Format of its files, for example `sklearn`.
        onnx_path: Which of its files is the ONNX form; empty where there is none.
        files: Its files.
    """

    project: str
    name: str
    version: int
    format: str
    onnx_path: str
    files: tuple[SourceFile, ...]

    @property
    def key(self) -> Key:
        """What it is found by."""
        return self.project, self.name, self.version

    def file(self, path: str) -> SourceFile | None:
        """The file of that path, if there is one."""
        return next((file for file in self.files if file.path == path), None)


class ModelSource(Protocol):
    """The registry."""

    def resolve(self, choice: ModelChoice, timeout_s: float) -> SourceVersion:
        """Finds the version that a choice stands for.

        Raises:
            servers.serving.errors.ModelNotFound: If there is none.
            servers.serving.errors.RegistryUnavailable: If the registry does not answer in time.
        """
        ...

    def fetch(self, project: str, file: SourceFile) -> Iterator[bytes]:
        """Reads a file in pieces, resuming where the connection breaks.

        Raises:
            servers.serving.errors.RegistryUnavailable: If the registry does not answer, or does not have the file.
        """
        ...
