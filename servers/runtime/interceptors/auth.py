"""Lets in who may: the caller from the token, the permission from the contract, the project from the request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlops.common.v1.options_pb2 import ACCESS_PERMISSION, ACCESS_PUBLIC

from servers.runtime.calls import Behaviour, Call, Method, checking
from servers.runtime.errors import PermissionDenied, Unauthenticated
from servers.runtime.projects import projects_reader
from servers.runtime.tokens import TokenVerifier

_SCHEME = "bearer "


class Authentication:
    """Establishes the caller before the request is parsed.

    Args:
        verifier: Judges tokens; None only on servers all of whose methods are public.
    """

    def __init__(self, verifier: TokenVerifier | None) -> None:
        self._verifier = verifier

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour that knows its caller. Public methods ignore tokens: a stale one must not break a login."""
        verifier = self._verifier
        if method.policy.access == ACCESS_PUBLIC or verifier is None:
            return inner

        def authenticated(request: Any, call: Call) -> Any:
            call.principal = verifier.verify(_token(call))
            return inner(request, call)

        return authenticated


class Authorization:
    """Checks the method's permission in the project of every request message.

    Args:
        on_denied: Told of each refusal of a known caller, with the request where there is one: the audit log wants it.
    """

    def __init__(self, on_denied: Callable[[Call, PermissionDenied, Any], object] | None = None) -> None:
        self._on_denied = on_denied

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour that runs only for callers with the permission."""
        read_projects = projects_reader(method.request_class)

        def find_project(request: Any, call: Call) -> None:
            call.project = read_projects(request, call.project)[0]

        if method.policy.access != ACCESS_PERMISSION:
            return checking(method, inner, find_project)
        permission = method.policy.permission

        def check(request: Any, call: Call) -> None:
            projects = read_projects(request, call.project)
            call.project = projects[0]
            for project in projects:
                if not call.principal.may(permission, project):
                    self._deny(call, permission, project, request)

        checked = checking(method, inner, check)
        if not method.request_streaming:
            return checked

        def streaming(requests: Any, call: Call) -> Any:
            # The project comes with the first message, and a servicer may work before it reads one.
            if not call.principal.may_anywhere(permission):
                self._deny(call, permission, call.project, None)
            return checked(requests, call)

        return streaming

    def _deny(self, call: Call, permission: str, project: str, request: Any) -> None:
        error = PermissionDenied(
            f"{call.principal.display_name!r} lacks the permission {permission!r} in project {project!r}; "
            "an administrator can bind a role that has it.",
            metadata={"permission": permission, "project": project},
        )
        call.project = project
        if self._on_denied is not None:
            self._on_denied(call, error, request)
        raise error


def _token(call: Call) -> str:
    header = call.header("authorization")
    if header is None:
        raise Unauthenticated("The call carries no token; send `authorization: Bearer <token>`.", reason="TOKEN_MISSING")
    if not isinstance(header, str) or header[: len(_SCHEME)].lower() != _SCHEME:
        raise Unauthenticated("The header `authorization` has another form than `Bearer <token>`.", reason="TOKEN_MALFORMED")
    return header[len(_SCHEME) :].strip()
