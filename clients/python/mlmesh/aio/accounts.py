"""Users, roles and their bindings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops.users.v1 import user_pb2, users_service_pb2

from mlmesh.aio.pages import Pager
from mlmesh.aio.sessions import SessionCalls
from mlmesh.fields import enum_value, given, mask_of


class AccountCalls(SessionCalls):
    """Calls about who there is and what each may do."""

    async def create_user(
        self,
        username: str,
        *,
        password: str = "",
        display_name: str = "",
        email: str = "",
        kind: str = "human",
        labels: Mapping[str, str] | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> user_pb2.User:
        """Creates a user. Without a role binding it may do nothing.

        Args:
            username: Login name: lower-case letters, digits, `.`, `_`, `-` and `@`.
            password: Initial password, 12 to 1,024 characters; empty = the user logs in by API key only.
            display_name: Name as people write it.
            email: E-mail address.
            kind: `human` or `service`.
            labels: Labels.
            request_id: A UUID; a repeat returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.AlreadyExists: The login name is taken.
        """
        user = user_pb2.User(
            username=username,
            password=password,
            display_name=display_name,
            email=email,
            kind=enum_value(user_pb2.UserKind, kind),
            labels=labels,
        )
        request = users_service_pb2.CreateUserRequest(user=user, request_id=request_id)
        return await self._caller.unary(self._stub.CreateUser, request, timeout_s=timeout_s)

    async def get_user(self, id: str, *, timeout_s: float | None = None) -> user_pb2.User:
        """Returns a user.

        Args:
            id: Identifier or login name.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        return await self._caller.unary(self._stub.GetUser, users_service_pb2.GetUserRequest(id=id), timeout_s=timeout_s)

    def list_users(
        self, *, filter: str = "", order_by: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[user_pb2.User]:
        """Lists users.

        Args:
            filter: AIP-160 filter, for example `state = "LOCKED"`.
            order_by: Of `username`, `create_time`, `last_login_time`, each with ` desc` if wanted.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = users_service_pb2.ListUsersRequest(filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListUsers, request, "users", timeout_s)

    async def update_user(
        self,
        id: str,
        *,
        display_name: str | None = None,
        email: str | None = None,
        state: str | None = None,
        labels: Mapping[str, str] | None = None,
        etag: str = "",
        timeout_s: float | None = None,
    ) -> user_pb2.User:
        """Changes a user; what is None stays.

        Args:
            id: Identifier of the user.
            display_name: Name as people write it.
            email: E-mail address.
            state: `active` (also ends a lock) or `disabled`.
            labels: All labels it has from now on.
            etag: The etag last seen; where the user has changed since, the call is refused. Empty = whatever it is now.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.Aborted: The user has changed since `etag`.
        """
        changes = given(
            display_name=display_name,
            email=email,
            state=None if state is None else enum_value(user_pb2.UserState, state),
            labels=labels,
        )
        user = user_pb2.User(id=id, etag=etag, **changes)
        request = users_service_pb2.UpdateUserRequest(user=user, update_mask=mask_of(changes))
        return await self._caller.unary(self._stub.UpdateUser, request, timeout_s=timeout_s)

    async def set_password(self, id: str, new_password: str, *, timeout_s: float | None = None) -> None:
        """Sets the password of a user and revokes the user's sessions.

        Args:
            id: Identifier of the user.
            new_password: The new one, 12 to 1,024 characters.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = users_service_pb2.SetPasswordRequest(id=id, new_password=new_password)
        await self._caller.unary(self._stub.SetPassword, request, timeout_s=timeout_s)

    async def delete_user(self, id: str, *, etag: str = "", timeout_s: float | None = None) -> None:
        """Deletes a user, with bindings, sessions and API keys.

        Args:
            id: Identifier of the user.
            etag: The etag last seen; empty = whatever it is now.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        await self._caller.unary(self._stub.DeleteUser, users_service_pb2.DeleteUserRequest(id=id, etag=etag), timeout_s=timeout_s)

    def list_permissions(
        self, *, filter: str = "", order_by: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[user_pb2.Permission]:
        """Lists every permission there is and the methods that ask for it.

        Args:
            filter: AIP-160 filter over `name`, for example `name = "registry.*"`.
            order_by: `name` or `name desc`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = users_service_pb2.ListPermissionsRequest(filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListPermissions, request, "permissions", timeout_s)

    async def create_role(
        self, name: str, permissions: Sequence[str], *, display_name: str = "", request_id: str = "", timeout_s: float | None = None
    ) -> user_pb2.Role:
        """Creates a role.

        Args:
            name: Name: lower-case letters, digits and `-`.
            permissions: Permissions; `registry.*` stands for all that begin so, `*` for all.
            display_name: Name as people write it.
            request_id: A UUID; a repeat returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.AlreadyExists: The name is taken.
        """
        role = user_pb2.Role(name=name, permissions=permissions, display_name=display_name)
        request = users_service_pb2.CreateRoleRequest(role=role, request_id=request_id)
        return await self._caller.unary(self._stub.CreateRole, request, timeout_s=timeout_s)

    async def get_role(self, name: str, *, timeout_s: float | None = None) -> user_pb2.Role:
        """Returns a role.

        Args:
            name: Its name.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        return await self._caller.unary(self._stub.GetRole, users_service_pb2.GetRoleRequest(name=name), timeout_s=timeout_s)

    def list_roles(
        self, *, filter: str = "", order_by: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[user_pb2.Role]:
        """Lists roles.

        Args:
            filter: AIP-160 filter over `name`, `built_in` and `create_time`.
            order_by: Of `name`, `create_time`, each with ` desc` if wanted.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = users_service_pb2.ListRolesRequest(filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListRoles, request, "roles", timeout_s)

    async def update_role(
        self,
        name: str,
        *,
        permissions: Sequence[str] | None = None,
        display_name: str | None = None,
        etag: str = "",
        timeout_s: float | None = None,
    ) -> user_pb2.Role:
        """Changes a role; what is None stays. It takes effect for tokens issued from now on.

        Args:
            name: Its name.
            permissions: All permissions it has from now on.
            display_name: Name as people write it.
            etag: The etag last seen; empty = whatever it is now.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.FailedPrecondition: The platform made the role.
        """
        changes = given(permissions=permissions, display_name=display_name)
        role = user_pb2.Role(name=name, etag=etag, **changes)
        request = users_service_pb2.UpdateRoleRequest(role=role, update_mask=mask_of(changes))
        return await self._caller.unary(self._stub.UpdateRole, request, timeout_s=timeout_s)

    async def delete_role(self, name: str, *, etag: str = "", timeout_s: float | None = None) -> None:
        """Deletes a role.

        Args:
            name: Its name.
            etag: The etag last seen; empty = whatever it is now.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.FailedPrecondition: The platform made the role, or somebody has it.
        """
        await self._caller.unary(self._stub.DeleteRole, users_service_pb2.DeleteRoleRequest(name=name, etag=etag), timeout_s=timeout_s)

    async def create_role_binding(
        self, user_id: str, role: str, *, project: str = "", request_id: str = "", timeout_s: float | None = None
    ) -> user_pb2.RoleBinding:
        """Gives a user a role in a project.

        Args:
            user_id: Identifier of the user.
            role: Name of the role.
            project: Project; empty = `default`, `*` = every one.
            request_id: A UUID; a repeat returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such user or role.
        """
        binding = user_pb2.RoleBinding(user_id=user_id, role=role, project=project)
        request = users_service_pb2.CreateRoleBindingRequest(binding=binding, request_id=request_id)
        return await self._caller.unary(self._stub.CreateRoleBinding, request, timeout_s=timeout_s)

    def list_role_bindings(
        self, *, filter: str = "", order_by: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[user_pb2.RoleBinding]:
        """Lists who has which role where.

        Args:
            filter: AIP-160 filter over `user_id`, `role`, `project` and `create_time`.
            order_by: Of `create_time`, `role`, `project`, each with ` desc` if wanted.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = users_service_pb2.ListRoleBindingsRequest(filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._stub.ListRoleBindings, request, "bindings", timeout_s)

    async def delete_role_binding(self, id: str, *, timeout_s: float | None = None) -> None:
        """Takes a role away from a user.

        Args:
            id: Identifier of the binding.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = users_service_pb2.DeleteRoleBindingRequest(id=id)
        await self._caller.unary(self._stub.DeleteRoleBinding, request, timeout_s=timeout_s)

    async def check_permissions(
        self, permissions: Sequence[str], *, user_id: str = "", project: str = "", timeout_s: float | None = None
    ) -> users_service_pb2.CheckPermissionsResponse:
        """Returns which permissions a user has and which not.

        Args:
            permissions: Permissions, without wildcards.
            user_id: Identifier of the user; empty = the caller.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.
        """
        request = users_service_pb2.CheckPermissionsRequest(permissions=permissions, user_id=user_id, project=project)
        return await self._caller.unary(self._stub.CheckPermissions, request, timeout_s=timeout_s)
