"""The contract `mlops.users.v1.UserService`: convert, call, convert."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from mlops.users.v1 import user_pb2
from mlops.users.v1 import users_service_pb2 as pb
from mlops.users.v1.users_service_pb2_grpc import UserServiceServicer

from servers.runtime.auth import DEFAULT_PROJECT, current_principal
from servers.users import converters as to
from servers.users.accounts import Accounts
from servers.users.api_keys import ApiKeys
from servers.users.audit_log import AuditLog
from servers.users.catalogue import Catalogue
from servers.users.logins import Logins
from servers.users.roles import Roles
from servers.users.signing_keys import SigningKeys
from servers.users.token_grants import exchange


@dataclass(frozen=True)
class UsersServicer(UserServiceServicer):
    """Serves the users contract.

    Args:
        logins: Gives tokens.
        accounts: Keeps users.
        roles: Keeps roles and bindings.
        api_keys: Keeps API keys.
        audit_log: Keeps the audit log.
        catalogue: Knows the permissions.
        signing_keys: Publishes what verifies tokens.
        revoked: Gives token groups that ended early.
        clock: The time now.
    """

    logins: Logins
    accounts: Accounts
    roles: Roles
    api_keys: ApiKeys
    audit_log: AuditLog
    catalogue: Catalogue
    signing_keys: SigningKeys
    revoked: Callable[[], Collection[str]]
    clock: Callable[[], datetime]

    def Login(self, request: pb.LoginRequest, context: grpc.ServicerContext) -> pb.TokenResponse:
        """Logs a person in."""
        return to.token_response(self.logins.with_password(request.username, request.password))

    def ExchangeToken(self, request: pb.ExchangeTokenRequest, context: grpc.ServicerContext) -> pb.TokenResponse:
        """Gives tokens for an OAuth2 grant."""
        return to.token_response(exchange(self.logins, to.token_request_of(request)))

    def RefreshToken(self, request: pb.RefreshTokenRequest, context: grpc.ServicerContext) -> pb.TokenResponse:
        """Continues a session."""
        return to.token_response(self.logins.with_refresh_token(request.refresh_token))

    def Logout(self, request: pb.LogoutRequest, context: grpc.ServicerContext) -> Empty:
        """Ends the caller's session."""
        self.logins.logout(current_principal())
        return Empty()

    def GetMe(self, request: pb.GetMeRequest, context: grpc.ServicerContext) -> pb.Me:
        """Says who calls."""
        caller = current_principal()
        user, session_id = self.logins.who_is(caller)
        return to.me_message(user, caller.grants, session_id, self.clock())

    def ChangePassword(self, request: pb.ChangePasswordRequest, context: grpc.ServicerContext) -> Empty:
        """Replaces the caller's password."""
        self.logins.change_password(current_principal(), request.current_password, request.new_password)
        return Empty()

    def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: grpc.ServicerContext) -> pb.CreateApiKeyResponse:
        """Makes an API key."""
        wanted = request.api_key
        key, secret = self.api_keys.create(
            current_principal(), request.user_id, to.display_name_of(wanted), wanted.scopes, to.expire_time_of(wanted)
        )
        return pb.CreateApiKeyResponse(api_key=to.api_key_message(key), secret=secret)

    def ListApiKeys(self, request: pb.ListApiKeysRequest, context: grpc.ServicerContext) -> pb.ListApiKeysResponse:
        """Lists API keys."""
        keys, token = self.api_keys.page(current_principal(), request.user_id, to.listing_of(request))
        return pb.ListApiKeysResponse(api_keys=map(to.api_key_message, keys), next_page_token=token)

    def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: grpc.ServicerContext) -> Empty:
        """Ends an API key."""
        self.api_keys.revoke(current_principal(), request.id)
        return Empty()

    def GetJwks(self, request: pb.GetJwksRequest, context: grpc.ServicerContext) -> HttpBody:
        """Publishes the keys that verify tokens."""
        return HttpBody(content_type="application/json", data=self.signing_keys.jwks())

    def ListRevocations(self, request: pb.ListRevocationsRequest, context: grpc.ServicerContext) -> pb.ListRevocationsResponse:
        """Lists sessions that ended early."""
        as_of = self.clock()
        return to.revocations_message(self.revoked(), as_of)

    def CreateUser(self, request: pb.CreateUserRequest, context: grpc.ServicerContext) -> user_pb2.User:
        """Creates a user."""
        return to.user_message(self.accounts.create(to.new_user_of(request.user)), self.clock())

    def GetUser(self, request: pb.GetUserRequest, context: grpc.ServicerContext) -> user_pb2.User:
        """Reads a user."""
        return to.user_message(self.accounts.get(request.id), self.clock())

    def ListUsers(self, request: pb.ListUsersRequest, context: grpc.ServicerContext) -> pb.ListUsersResponse:
        """Lists users."""
        users, token = self.accounts.page(to.listing_of(request))
        now = self.clock()
        return pb.ListUsersResponse(users=[to.user_message(user, now) for user in users], next_page_token=token)

    def UpdateUser(self, request: pb.UpdateUserRequest, context: grpc.ServicerContext) -> user_pb2.User:
        """Changes a user."""
        user = self.accounts.update(current_principal(), request.user.id, to.user_update_of(request), request.user.etag)
        return to.user_message(user, self.clock())

    def SetPassword(self, request: pb.SetPasswordRequest, context: grpc.ServicerContext) -> Empty:
        """Replaces a user's password."""
        self.accounts.set_password(current_principal(), request.id, request.new_password)
        return Empty()

    def DeleteUser(self, request: pb.DeleteUserRequest, context: grpc.ServicerContext) -> Empty:
        """Deletes a user."""
        self.accounts.delete(current_principal(), request.id, request.etag)
        return Empty()

    def ListPermissions(self, request: pb.ListPermissionsRequest, context: grpc.ServicerContext) -> pb.ListPermissionsResponse:
        """Lists the permissions of the mesh."""
        permissions, token = self.catalogue.page(to.listing_of(request))
        return pb.ListPermissionsResponse(permissions=map(to.permission_message, permissions), next_page_token=token)

    def CreateRole(self, request: pb.CreateRoleRequest, context: grpc.ServicerContext) -> user_pb2.Role:
        """Creates a role."""
        wanted = request.role
        role = self.roles.create(current_principal(), wanted.name, to.role_name_of(wanted), wanted.permissions)
        return to.role_message(role)

    def GetRole(self, request: pb.GetRoleRequest, context: grpc.ServicerContext) -> user_pb2.Role:
        """Reads a role."""
        return to.role_message(self.roles.get(request.name))

    def ListRoles(self, request: pb.ListRolesRequest, context: grpc.ServicerContext) -> pb.ListRolesResponse:
        """Lists roles."""
        roles, token = self.roles.page(to.listing_of(request))
        return pb.ListRolesResponse(roles=map(to.role_message, roles), next_page_token=token)

    def UpdateRole(self, request: pb.UpdateRoleRequest, context: grpc.ServicerContext) -> user_pb2.Role:
        """Changes a role."""
        role = self.roles.update(current_principal(), request.role.name, to.role_update_of(request), request.role.etag)
        return to.role_message(role)

    def DeleteRole(self, request: pb.DeleteRoleRequest, context: grpc.ServicerContext) -> Empty:
        """Deletes a role."""
        self.roles.delete(request.name, request.etag)
        return Empty()

    def CreateRoleBinding(self, request: pb.CreateRoleBindingRequest, context: grpc.ServicerContext) -> user_pb2.RoleBinding:
        """Gives a role."""
        wanted = request.binding
        binding = self.roles.bind(current_principal(), wanted.user_id, wanted.role, wanted.project or DEFAULT_PROJECT)
        return to.binding_message(binding)

    def ListRoleBindings(self, request: pb.ListRoleBindingsRequest, context: grpc.ServicerContext) -> pb.ListRoleBindingsResponse:
        """Lists bindings."""
        bindings, token = self.roles.bindings_page(current_principal(), to.listing_of(request))
        return pb.ListRoleBindingsResponse(bindings=map(to.binding_message, bindings), next_page_token=token)

    def DeleteRoleBinding(self, request: pb.DeleteRoleBindingRequest, context: grpc.ServicerContext) -> Empty:
        """Takes a role away."""
        self.roles.unbind(current_principal(), request.id)
        return Empty()

    def CheckPermissions(self, request: pb.CheckPermissionsRequest, context: grpc.ServicerContext) -> pb.CheckPermissionsResponse:
        """Says what a user may do."""
        granted, denied = self.roles.check(current_principal(), request.permissions, request.user_id, request.project or DEFAULT_PROJECT)
        return pb.CheckPermissionsResponse(granted=granted, denied=denied)

    def ListAuditEvents(self, request: pb.ListAuditEventsRequest, context: grpc.ServicerContext) -> pb.ListAuditEventsResponse:
        """Lists the audit log."""
        entries, token = self.audit_log.page(current_principal(), to.listing_of(request))
        return pb.ListAuditEventsResponse(events=map(to.audit_event_message, entries), next_page_token=token)

    def VerifyAuditLog(self, request: pb.VerifyAuditLogRequest, context: grpc.ServicerContext) -> pb.VerifyAuditLogResponse:
        """Recomputes the audit log."""
        return to.verdict_message(self.audit_log.verify(to.checkpoint_of(request)))

    def AppendAuditEvents(self, request: pb.AppendAuditEventsRequest, context: grpc.ServicerContext) -> Empty:
        """Takes events of the other components."""
        self.audit_log.append(map(to.event_of, request.events))
        return Empty()
