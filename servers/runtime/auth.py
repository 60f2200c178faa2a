"""Who calls: what servicers and composition roots need of authentication, in one place."""

from __future__ import annotations

from servers.runtime.calls import DEFAULT_PROJECT, current_call
from servers.runtime.keys import LocalKeys, RemoteKeys, keys_of_jwks
from servers.runtime.principals import ANONYMOUS, Principal, PrincipalKind
from servers.runtime.tokens import KeySource, Revocations, TokenVerifier, principal_of

__all__ = [
    "ANONYMOUS",
    "DEFAULT_PROJECT",
    "KeySource",
    "LocalKeys",
    "Principal",
    "PrincipalKind",
    "RemoteKeys",
    "Revocations",
    "TokenVerifier",
    "current_principal",
    "current_project",
    "keys_of_jwks",
    "principal_of",
]


def current_principal() -> Principal:
    """The caller of the call that this thread serves; `ANONYMOUS` in a public method.

    Raises:
        LookupError: Outside a call.
    """
    return current_call().principal


def current_project() -> str:
    """The project of the call that this thread serves: `request.project`, or `default`.

    Raises:
        LookupError: Outside a call.
    """
    return current_call().project
