"""What the users server refuses, and why.

Where RFC 6749 has a name for a refusal, `metadata["oauth_error"]` carries it, so that the OAuth2 endpoint can answer in its words.
"""

from __future__ import annotations

from collections.abc import Iterable

from servers.runtime.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)


class InvalidCredentials(Unauthenticated):
    """User name and password do not let anyone in. One text for every cause: an attacker learns nothing from it."""

    reason = "INVALID_CREDENTIALS"

    def __init__(self) -> None:
        super().__init__(
            "The user name or the password is wrong, or the account is disabled or locked. A lock after wrong passwords ends by itself; "
            "an administrator can end it sooner.",
            metadata={"oauth_error": "invalid_grant"},
        )


class RefreshTokenInvalid(Unauthenticated):
    """A refresh token is unknown, expired, or its session was ended."""

    reason = "REFRESH_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__(
            "The refresh token is unknown or expired, or its session has ended; log in again.", metadata={"oauth_error": "invalid_grant"}
        )


class RefreshTokenReused(Unauthenticated):
    """A refresh token came a second time, so either this or the earlier use was not its owner's."""

    reason = "REFRESH_TOKEN_REUSED"

    def __init__(self) -> None:
        super().__init__(
            "The refresh token was used before, so somebody else may have it; the session has been ended. Log in again.",
            metadata={"oauth_error": "invalid_grant"},
        )


class ApiKeyMalformed(Unauthenticated):
    """A text is not an API key, or was mistyped."""

    reason = "API_KEY_MALFORMED"

    def __init__(self) -> None:
        super().__init__(
            "This is not an API key of the mesh: its form or its checksum is wrong. A key looks like `mlm_<id>_<secret>`; was it cut off?",
            metadata={"oauth_error": "invalid_client"},
        )


class ApiKeyInvalid(Unauthenticated):
    """An API key is unknown, expired or revoked, or its user is disabled."""

    reason = "API_KEY_INVALID"

    def __init__(self) -> None:
        super().__init__(
            "The API key is unknown, expired or revoked, or its user is disabled; create another one.",
            metadata={"oauth_error": "invalid_client"},
        )


class NotAServiceClient(Unauthenticated):
    """Client credentials that are not those of a service user."""

    reason = "CLIENT_INVALID"

    def __init__(self) -> None:
        super().__init__(
            "`client_id` has to be the identifier of an API key of a service user, and `client_secret` that whole key.",
            metadata={"oauth_error": "invalid_client"},
        )


class UnsupportedGrantType(InvalidArgument):
    """A grant type that this server does not have."""

    reason = "UNSUPPORTED_GRANT_TYPE"

    def __init__(self, grant_type: str, allowed: Iterable[str]) -> None:
        text = f"The grant type {grant_type!r} is not supported; supported are {', '.join(sorted(allowed))}."
        super().__init__(text, metadata={"oauth_error": "unsupported_grant_type"}, field_violations=[("grant_type", text)])


class GrantFieldMissing(InvalidArgument):
    """A grant lacks one of its fields."""

    reason = "GRANT_FIELD_MISSING"

    def __init__(self, grant_type: str, field: str) -> None:
        text = f"The grant {grant_type!r} needs the field {field!r}."
        super().__init__(text, metadata={"oauth_error": "invalid_request"}, field_violations=[(field, text)])


class InvalidScope(InvalidArgument):
    """A scope that is no permission, or of which the caller has nothing."""

    reason = "INVALID_SCOPE"

    def __init__(self, message: str, *, field: str = "scope") -> None:
        super().__init__(message, metadata={"oauth_error": "invalid_scope"}, field_violations=[(field, message)])


class GrantsTooLarge(FailedPrecondition):
    """The rights of a user do not fit into a token."""

    reason = "GRANTS_TOO_LARGE"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"The rights of this user make a token of {size_bytes} bytes, and {limit_bytes} fit. "
            "Ask for fewer with `scope`, or bind roles that use wildcards or the project `*`."
        )


class TooManyLogins(ResourceExhausted):
    """More passwords wait to be checked than the server takes on."""

    reason = "TOO_MANY_LOGINS"

    def __init__(self) -> None:
        super().__init__("Too many logins at the same time; try again in a moment.", retry_after_s=1.0)


class WeakPassword(InvalidArgument):
    """A new password that the policy refuses."""

    reason = "PASSWORD_TOO_WEAK"

    def __init__(self, why: str, field: str) -> None:
        super().__init__(why, field_violations=[(field, why)])


class WrongPassword(InvalidArgument):
    """The current password, asked for before a change, is wrong."""

    reason = "CURRENT_PASSWORD_WRONG"

    def __init__(self) -> None:
        text = "The current password is wrong, or the account is locked after too many wrong ones."
        super().__init__(text, field_violations=[("current_password", text)])


class PasswordNotAllowed(FailedPrecondition):
    """Service users have no password."""

    reason = "SERVICE_USER_HAS_NO_PASSWORD"

    def __init__(self, username: str) -> None:
        super().__init__(f"{username!r} is a service user, which logs in with API keys or client credentials and has no password.")


class UserNotFound(NotFound):
    """No user has this identifier or name."""

    reason = "USER_NOT_FOUND"

    def __init__(self, which: str) -> None:
        super().__init__(f"No user has the identifier or name {which!r}.", resource=("mlops.users.v1.User", which))


class UserExists(AlreadyExists):
    """The user name is taken."""

    reason = "USER_EXISTS"

    def __init__(self, username: str) -> None:
        super().__init__(f"A user named {username!r} exists; choose another name.", resource=("mlops.users.v1.User", username))


class UnsupportedState(InvalidArgument):
    """A state that nobody can ask for."""

    reason = "USER_STATE_NOT_SETTABLE"

    def __init__(self, state: str) -> None:
        text = f"The state {state} cannot be set; ACTIVE and DISABLED can."
        super().__init__(text, field_violations=[("user.state", text)])


class LastAdministrator(FailedPrecondition):
    """The change would leave nobody who may do everything."""

    reason = "LAST_ADMINISTRATOR"

    def __init__(self) -> None:
        super().__init__(
            "This would leave no active user with the permission `*` in every project; "
            "give the role `admin` in project `*` to another user first."
        )


class RoleNotFound(NotFound):
    """No role has this name."""

    reason = "ROLE_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no role {name!r}; ListRoles lists them.", resource=("mlops.users.v1.Role", name))


class RoleExists(AlreadyExists):
    """The role name is taken."""

    reason = "ROLE_EXISTS"

    def __init__(self, name: str) -> None:
        super().__init__(f"A role named {name!r} exists; choose another name or update that one.", resource=("mlops.users.v1.Role", name))


class RoleBuiltIn(FailedPrecondition):
    """Built-in roles come with the software."""

    reason = "ROLE_BUILT_IN"

    def __init__(self, name: str) -> None:
        super().__init__(f"The role {name!r} is built in and cannot be changed or deleted; create a role of your own.")


class RoleInUse(FailedPrecondition):
    """A role that somebody has cannot be deleted."""

    reason = "ROLE_IN_USE"

    def __init__(self, name: str, bindings: int) -> None:
        super().__init__(f"The role {name!r} is bound {bindings} times; delete those bindings first.", metadata={"bindings": str(bindings)})


class BindingNotFound(NotFound):
    """No binding has this identifier."""

    reason = "BINDING_NOT_FOUND"

    def __init__(self, binding_id: str) -> None:
        super().__init__(f"There is no role binding {binding_id!r}.", resource=("mlops.users.v1.RoleBinding", binding_id))


class BindingExists(AlreadyExists):
    """The user has this role in this project."""

    reason = "BINDING_EXISTS"

    def __init__(self, role: str, project: str) -> None:
        super().__init__(f"The user has the role {role!r} in project {project!r} already.")


class ApiKeyNotFound(NotFound):
    """No API key that the caller may see has this identifier."""

    reason = "API_KEY_NOT_FOUND"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"There is no API key {key_id!r}.", resource=("mlops.users.v1.ApiKey", key_id))


class ExpiryInThePast(InvalidArgument):
    """A key that would never work."""

    reason = "EXPIRY_IN_THE_PAST"

    def __init__(self) -> None:
        text = "`expire_time` has to be in the future; leave it out for a key that does not expire."
        super().__init__(text, field_violations=[("api_key.expire_time", text)])


class NeedsPermission(PermissionDenied):
    """A caller without a permission that only this form of the request needs."""

    def __init__(self, permission: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the permission {permission!r}.", metadata={"permission": permission})


class PrivilegeEscalation(PermissionDenied):
    """A caller would give, or take over, rights that the caller has not."""

    reason = "PRIVILEGE_ESCALATION"

    def __init__(self, missing: Iterable[tuple[str, str]]) -> None:
        shown = sorted(missing)
        text = ", ".join(f"{permission!r} in project {project!r}" for project, permission in shown[:5])
        more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
        super().__init__(f"Nobody can give or take over rights beyond their own; missing are {text}{more}.")
