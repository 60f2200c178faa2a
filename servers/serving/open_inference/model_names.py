"""Which model a request of the protocol means: its name, its version as text, and a project that the protocol has no field for."""

from __future__ import annotations

from servers.runtime.calls import current_call
from servers.runtime.errors import PermissionDenied
from servers.serving.errors import InvalidModelChoice
from servers.serving.model_source import ModelChoice, model_choice

PROJECT_PARAMETER = "mlmesh_project"
"""Request parameter that names the project of one request, where that differs from the call's."""

PROJECT_HEADER = "x-mlmesh-project"
"""Header that names the project of a call."""

VERSION_PARAMETER = "mlmesh_version"
"""Parameter of load and unload, which have no field for a version."""

_MOST_DIGITS = 9


def choice_of(name: str, version: str, project: str) -> ModelChoice:
    """Finds out which version is meant.

    Args:
        name: Name of the model.
        version: Version number, or an alias, or empty for the version that answers by default.
        project: Project of the model.

    Raises:
        InvalidModelChoice: If the name cannot be one, or the version is neither a number of 1 or more nor an alias.
    """
    if not version:
        return model_choice(name, project=project, field="model_name")
    if version.isascii() and version.isdigit():
        return model_choice(name, project=project, version=version_number(version), field="model_name")
    return model_choice(name, project=project, alias=version, field="model_name")


def version_number(version: str) -> int:
    """Reads a version that is written in digits.

    Raises:
        InvalidModelChoice: If no version has that number.
    """
    number = int(version) if len(version) <= _MOST_DIGITS else 0
    if number < 1:
        text = f"`{version[:100]}` is no version of a model: expected a number of 1 or more, an alias such as `champion`, or nothing"
        raise InvalidModelChoice(text, field_violations=[("model_version", text)])
    return number


def project_of(named: str) -> str:
    """The project of a request.

    Args:
        named: What the request's parameters say; empty = nothing.

    Returns:
        That project, or else the one of the call, in which the caller's permission was checked already.

    Raises:
        PermissionDenied: If the caller may not do this in the project that is named.
    """
    call = current_call()
    if not named or named == call.project:
        return call.project
    permission = call.method.policy.permission
    if not call.principal.may(permission, named):
        raise PermissionDenied(
            f"{call.principal.display_name!r} lacks the permission {permission!r} in project {named[:63]!r}; "
            "an administrator can bind a role that has it.",
            metadata={"permission": permission, "project": named[:63]},
        )
    return named
