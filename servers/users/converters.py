"""Messages of the contract to values of the domain, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.timestamp_pb2 import Timestamp
from mlops.common.v1.options_pb2 import policy
from mlops.users.v1 import user_pb2, users_service_pb2

from servers.runtime.errors import InvalidArgument
from servers.runtime.field_masks import updated_fields
from servers.runtime.paging import Listing, page_size
from servers.runtime.timestamps import timestamp
from servers.users.accounts import NewUser, UserUpdate, user_etag
from servers.users.audit_log import Checkpoint, Verdict
from servers.users.catalogue import PermissionUse
from servers.users.errors import UnsupportedState
from servers.users.grants import Grants
from servers.users.identities import ApiKey, Binding, Role, User, UserKind, UserState
from servers.users.logins import Tokens
from servers.users.roles import RoleUpdate, role_etag
from servers.users.store.audit_rows import Entry, Event
from servers.users.token_grants import TokenRequest

_KINDS: Mapping[UserKind, user_pb2.UserKind.ValueType] = {
    UserKind.HUMAN: user_pb2.USER_KIND_HUMAN,
    UserKind.SERVICE: user_pb2.USER_KIND_SERVICE,
}
_STATES: Mapping[UserState, user_pb2.UserState.ValueType] = {
    UserState.ACTIVE: user_pb2.USER_STATE_ACTIVE,
    UserState.LOCKED: user_pb2.USER_STATE_LOCKED,
    UserState.DISABLED: user_pb2.USER_STATE_DISABLED,
}
_KIND_OF = {number: kind for kind, number in _KINDS.items()}
_STATE_OF = {number: state for state, number in _STATES.items()}
_NUL = "\x00"


class ListRequest(Protocol):
    """Any request of a list."""

    page_size: int
    page_token: str
    filter: str
    order_by: str


def listing_of(request: ListRequest) -> Listing:
    """Which part of a collection a request wants."""
    return Listing(page_size(request.page_size), request.page_token, request.filter, request.order_by)


def token_request_of(request: users_service_pb2.ExchangeTokenRequest) -> TokenRequest:
    """What was sent to the token endpoint."""
    return TokenRequest(
        grant_type=request.grant_type,
        username=request.username,
        password=request.password,
        client_id=request.client_id,
        client_secret=request.client_secret,
        refresh_token=request.refresh_token,
        api_key=request.api_key,
        scopes=tuple(request.scope.split()),
    )


def token_response(tokens: Tokens) -> users_service_pb2.TokenResponse:
    """The answer of every login."""
    return users_service_pb2.TokenResponse(
        access_token=tokens.access.text,
        token_type="Bearer",  # noqa: S106 (the name of a scheme)
        expires_in=tokens.access.lifetime_s,
        refresh_token=tokens.refresh,
        scope=" ".join(tokens.scopes),
    )


def new_user_of(message: user_pb2.User) -> NewUser:
    """The user that a request wants."""
    if message.state == user_pb2.USER_STATE_LOCKED:
        raise UnsupportedState(UserState.LOCKED.value)
    return NewUser(
        username=message.username,
        display_name=_text(message.display_name, "user.display_name"),
        email=_text(message.email, "user.email"),
        kind=_KIND_OF.get(message.kind, UserKind.HUMAN),
        is_disabled=message.state == user_pb2.USER_STATE_DISABLED,
        labels=_labels(message.labels),
        password=message.password if message.HasField("password") else None,
    )


def user_update_of(request: users_service_pb2.UpdateUserRequest) -> UserUpdate:
    """What a request wants to change."""
    user = request.user
    fields = updated_fields(
        request.update_mask,
        user,
        immutable=("username", "kind", "create_time", "update_time", "last_login_time", "lock_expire_time", "password"),
        identity=("id", "etag"),
    )
    state = _STATE_OF.get(user.state)
    if "state" in fields and state is None and "state" in request.update_mask.paths:
        raise UnsupportedState("USER_STATE_UNSPECIFIED")
    return UserUpdate(
        display_name=_text(user.display_name, "user.display_name") if "display_name" in fields else None,
        email=_text(user.email, "user.email") if "email" in fields else None,
        state=state if "state" in fields else None,
        labels=_labels(user.labels) if "labels" in fields else None,
    )


def user_message(user: User, now: datetime) -> user_pb2.User:
    """A user as the contract has it; LOCKED is a matter of `now`."""
    state = user.state(now)
    return user_pb2.User(
        id=user.id,
        username=user.username,
        display_name=user.display_name,
        email=user.email,
        kind=_KINDS[user.kind],
        state=_STATES[state],
        labels=user.labels,
        create_time=timestamp(user.create_time),
        update_time=timestamp(user.update_time),
        last_login_time=timestamp(user.last_login_time),
        lock_expire_time=timestamp(user.lock_expire_time if state is UserState.LOCKED else None),
        etag=user_etag(user),
    )


def me_message(user: User, grants: Grants, session_id: str, now: datetime) -> users_service_pb2.Me:
    """Who the caller is."""
    return users_service_pb2.Me(
        user=user_message(user, now),
        grants=[
            users_service_pb2.ProjectGrant(project=project, permissions=sorted(permissions))
            for project, permissions in sorted(grants.items())
        ],
        session_id=session_id,
    )


def role_update_of(request: users_service_pb2.UpdateRoleRequest) -> RoleUpdate:
    """What a request wants to change."""
    role = request.role
    fields = updated_fields(request.update_mask, role, immutable=("built_in", "create_time", "update_time"), identity=("name", "etag"))
    if "permissions" in fields and not role.permissions:
        text = "a role has at least one permission; delete the role instead of emptying it."
        raise InvalidArgument(text, field_violations=[("role.permissions", text)], reason="PERMISSIONS_EMPTY")
    return RoleUpdate(
        display_name=_text(role.display_name, "role.display_name") if "display_name" in fields else None,
        permissions=tuple(role.permissions) if "permissions" in fields else None,
    )


def role_name_of(message: user_pb2.Role) -> str:
    """The display name of a role that is asked for."""
    return _text(message.display_name, "role.display_name")


def role_message(role: Role) -> user_pb2.Role:
    """A role as the contract has it."""
    return user_pb2.Role(
        name=role.name,
        display_name=role.display_name,
        permissions=role.permissions,
        built_in=role.is_built_in,
        create_time=timestamp(role.create_time),
        update_time=timestamp(role.update_time),
        etag=role_etag(role),
    )


def binding_message(binding: Binding) -> user_pb2.RoleBinding:
    """A binding as the contract has it."""
    return user_pb2.RoleBinding(
        id=binding.id,
        user_id=binding.user_id,
        role=binding.role,
        project=binding.project,
        create_time=timestamp(binding.create_time),
    )


def expire_time_of(message: user_pb2.ApiKey) -> datetime | None:
    """When a key that is asked for is to expire."""
    return _moment(message.expire_time) if message.HasField("expire_time") else None


def display_name_of(message: user_pb2.ApiKey) -> str:
    """What a key that is asked for is for."""
    return _text(message.display_name, "api_key.display_name")


def api_key_message(key: ApiKey) -> user_pb2.ApiKey:
    """An API key as the contract has it, without its secret."""
    return user_pb2.ApiKey(
        id=key.id,
        display_name=key.display_name,
        user_id=key.user_id,
        scopes=key.scopes,
        expire_time=timestamp(key.expire_time),
        create_time=timestamp(key.create_time),
        last_use_time=timestamp(key.last_use_time),
        revoke_time=timestamp(key.revoke_time),
    )


def permission_message(permission: PermissionUse) -> user_pb2.Permission:
    """A permission as the contract has it."""
    return user_pb2.Permission(name=permission.name, methods=permission.methods)


def permissions_in_contracts(descriptor_set: bytes) -> list[PermissionUse]:
    """Reads every permission out of the method options of a descriptor set."""
    methods: dict[str, list[str]] = {}
    for file in FileDescriptorSet.FromString(descriptor_set).file:
        for service in file.service:
            for method in service.method:
                stated = method.options.Extensions[policy]
                for asked in filter(None, (stated.permission, *stated.conditional_permissions)):
                    methods.setdefault(asked, []).append(f"/{file.package}.{service.name}/{method.name}")
    return [PermissionUse(name, tuple(sorted(users))) for name, users in methods.items()]


def event_of(message: user_pb2.AuditEvent) -> Event:
    """An audit event of another component."""
    return Event(
        id=message.id.lower(),
        event_time=_moment(message.event_time),
        subject=_storable(message.subject),
        method=_storable(message.method),
        project=_storable(message.project),
        resource=_storable(message.resource),
        status_code=message.status_code,
        reason=_storable(message.reason),
        trace_id=_storable(message.trace_id),
    )


def audit_event_message(entry: Entry) -> user_pb2.AuditEvent:
    """An entry of the audit log as the contract has it."""
    event = entry.event
    return user_pb2.AuditEvent(
        id=event.id,
        event_time=timestamp(event.event_time),
        subject=event.subject,
        method=event.method,
        project=event.project,
        resource=event.resource,
        status_code=event.status_code,
        reason=event.reason,
        trace_id=event.trace_id,
        sequence=entry.sequence,
        hash=entry.hash,
    )


def checkpoint_of(request: users_service_pb2.VerifyAuditLogRequest) -> Checkpoint | None:
    """The checkpoint that a caller kept."""
    sent = request.checkpoint
    return Checkpoint(sent.sequence, sent.hash) if request.HasField("checkpoint") else None


def verdict_message(verdict: Verdict) -> users_service_pb2.VerifyAuditLogResponse:
    """What a verification found."""
    return users_service_pb2.VerifyAuditLogResponse(
        intact=verdict.is_intact,
        event_count=verdict.event_count,
        first_bad_sequence=verdict.first_bad_sequence,
        checkpoint=users_service_pb2.AuditCheckpoint(sequence=verdict.checkpoint.sequence, hash=verdict.checkpoint.hash),
    )


def revocations_message(token_groups: Iterable[str], as_of: datetime) -> users_service_pb2.ListRevocationsResponse:
    """Sessions that ended early."""
    return users_service_pb2.ListRevocationsResponse(session_ids=token_groups, as_of_time=timestamp(as_of))


def _moment(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {_text(key, "user.labels"): _text(value, "user.labels") for key, value in labels.items()}


def _text(text: str, field: str) -> str:
    if _NUL in text:
        problem = "holds the character NUL, which no text can have."
        raise InvalidArgument(f"{field} {problem}", field_violations=[(field, problem)], reason="TEXT_INVALID")
    return text


def _storable(text: str) -> str:
    # What another component has seen is recorded whatever it is; PostgreSQL keeps no NUL.
    return text.replace(_NUL, "\ufffd")
