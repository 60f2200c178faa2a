"""Parameters of load and unload."""

from __future__ import annotations

from collections.abc import Mapping

from servers.serving.json_values import shown
from servers.serving.model_source import ModelChoice
from servers.serving.open_inference.errors import UnservedExtension, invalid
from servers.serving.open_inference.model_names import PROJECT_PARAMETER, VERSION_PARAMETER, choice_of, project_of
from servers.serving.open_inference.parameters import text_of

_FILE_PREFIX = "file:"


def choice_of_load(model: str, parameters: Mapping[str, object]) -> ModelChoice:
    """Which version is to be loaded.

    Raises:
        UnservedExtension: If the request brings a configuration or files: models come from the registry, by digest.
        servers.runtime.errors.DomainError: If the version cannot be one, or the caller may not load in the project.
    """
    for name in parameters:
        if name == "config" or name.startswith(_FILE_PREFIX):
            text = "a model's files and signature come from the registry; save a version there, then load it"
            raise UnservedExtension(f"parameters.{name[:100]}: {text}", field_violations=[(f"parameters.{name[:100]}", text)])
    return choice_of_unload(model, parameters)


def choice_of_unload(model: str, parameters: Mapping[str, object]) -> ModelChoice:
    """Which version is to be unloaded; without a version every loaded one.

    Raises:
        servers.runtime.errors.DomainError: If the version cannot be one, or the caller may not unload in the project.
    """
    project = project_of(text_of(parameters, PROJECT_PARAMETER))
    version = parameters.get(VERSION_PARAMETER, "")
    if type(version) is int:
        version = str(version)
    if not isinstance(version, str):
        raise invalid(f"parameters.{VERSION_PARAMETER}", f"expected a version number or an alias; got {shown(version)}")
    return choice_of(model, version, project)
