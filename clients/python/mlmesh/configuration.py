"""Which mesh to connect to and as whom: arguments first, then the environment, then the mesh on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlmesh.addresses import Address, parse_address
from mlmesh.errors import InvalidArgument, NotConnected
from mlmesh.local_mesh import default_data_dir, read_credential, read_state
from mlmesh.saved_logins import saved_login

API_KEY_PREFIX = "mlm_"
"""How every API key begins."""


@dataclass(frozen=True)
class Token:
    """A bearer token, used as it is until it expires."""

    text: str


@dataclass(frozen=True)
class ApiKey:
    """An API key, exchanged for tokens."""

    text: str


@dataclass(frozen=True)
class Password:
    """A user name and password, exchanged for tokens."""

    username: str
    password: str


@dataclass(frozen=True)
class SavedSession:
    """The session that `mlmesh login` saved for a mesh."""

    url: str


Credential = Token | ApiKey | Password | SavedSession


@dataclass(frozen=True)
class Connection:
    """Where to connect to and as whom.

    Args:
        address: The mesh.
        credential: Who calls; None = nobody, for the few methods that need nobody.
    """

    address: Address
    credential: Credential | None


def resolve(
    url: str | None = None,
    *,
    token: str | None = None,
    api_key: str | None = None,
    username: str | None = None,
    password: str | None = None,
    data_dir: Path | str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Connection:
    """Decides where to connect to and as whom.

    The credential of the mesh on this machine, and those that `mlmesh login` saved, go to the mesh they were made by and to no other.

    Raises:
        mlmesh.errors.InvalidArgument: The arguments contradict each other, or the address cannot be read.
        mlmesh.errors.NotConnected: No address is given, and no mesh runs on this machine.
    """
    explicit = _explicit(token, api_key, username, password)
    folder = Path(data_dir).expanduser() if data_dir is not None else default_data_dir(environment)
    state = read_state(folder)
    local_url = state.url if state is not None else ""
    # A data directory that was asked for by name is meant, whatever the environment says.
    chosen = url or (local_url if data_dir is not None else environment.get("MLMESH_URL") or local_url)
    if not chosen:
        raise NotConnected(f"no address of a mesh is given, and none runs on {folder}")
    try:
        address = parse_address(chosen)
    except ValueError as error:
        raise InvalidArgument(str(error), reason="ADDRESS_INVALID") from None
    if explicit is not None:
        return Connection(address, explicit)
    is_local = bool(local_url) and address.url == parse_address(local_url).url
    if is_local and data_dir is not None:
        return Connection(address, _local(folder))
    return Connection(address, _from_environment(environment) or (_local(folder) if is_local else None) or _saved(address, environment))


def _explicit(token: str | None, api_key: str | None, username: str | None, password: str | None) -> Credential | None:
    given = [name for name, value in (("token", token), ("api_key", api_key), ("username", username)) if value]
    if len(given) > 1:
        raise InvalidArgument(f"give one credential, not {' and '.join(given)}", reason="CREDENTIAL_AMBIGUOUS")
    if bool(username) != bool(password):
        raise InvalidArgument("username and password belong together", reason="CREDENTIAL_INCOMPLETE")
    if token:
        # A key would do as it is, but the gateway would have to exchange it for every call.
        return ApiKey(token) if token.startswith(API_KEY_PREFIX) else Token(token)
    if api_key:
        return ApiKey(api_key)
    return Password(username, password) if username and password else None


def _from_environment(environment: Mapping[str, str]) -> Credential | None:
    token, api_key = environment.get("MLMESH_TOKEN"), environment.get("MLMESH_API_KEY")
    return _explicit(token, None if token else api_key, None, None)


def _local(folder: Path) -> Credential | None:
    key = read_credential(folder)
    return ApiKey(key) if key else None


def _saved(address: Address, environment: Mapping[str, str]) -> Credential | None:
    login = saved_login(address.url, environment)
    if login.startswith(API_KEY_PREFIX):
        return ApiKey(login)
    return SavedSession(address.url) if login else None
