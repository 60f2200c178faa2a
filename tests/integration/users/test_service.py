from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from mlops.users.v1 import user_pb2
from mlops.users.v1 import users_service_pb2 as pb

from tests.integration.runtime.lost_answers import lose_answers_of
from tests.integration.users.served import Metadata, Served, bearer, refusal
from tests.users_under_test import PASSWORD


@pytest.fixture
def admin(served: Served) -> Metadata:
    return served.admin()


def create(served: Served, admin: Metadata, username: str, **fields: Any) -> user_pb2.User:
    return served.users.CreateUser(pb.CreateUserRequest(user=user_pb2.User(username=username, **fields)), metadata=admin)


def test_sixteen_logins_at_the_same_time_all_succeed(served: Served) -> None:
    gate = threading.Barrier(16)

    def login(_: int) -> pb.TokenResponse:
        gate.wait()
        return served.login()

    with ThreadPoolExecutor(16) as pool:
        tokens = list(pool.map(login, range(16)))

    assert all(token.token_type == "Bearer" and token.expires_in == 900 and token.scope == "" for token in tokens)
    assert len({token.refresh_token for token in tokens}) == 16


def test_a_locked_user_a_wrong_password_and_an_unknown_name_get_one_answer(served: Served) -> None:
    answers = {refusal(lambda: served.login("admin", "wrong")).message for _ in range(5)}
    locked = refusal(lambda: served.login("admin", PASSWORD))
    unknown = refusal(lambda: served.login("nobody", "wrong"))

    assert answers | {locked.message, unknown.message} == {locked.message}
    assert (locked.code, locked.reason) == (grpc.StatusCode.UNAUTHENTICATED, "INVALID_CREDENTIALS")
    assert (unknown.reason, unknown.metadata) == (locked.reason, locked.metadata)
    served.clock.advance(31)
    assert served.login().access_token


def test_reusing_a_refresh_token_ends_the_session(served: Served) -> None:
    first = served.login()
    second = served.users.RefreshToken(pb.RefreshTokenRequest(refresh_token=first.refresh_token))

    reused = refusal(lambda: served.users.RefreshToken(pb.RefreshTokenRequest(refresh_token=first.refresh_token)))
    after = refusal(lambda: served.users.RefreshToken(pb.RefreshTokenRequest(refresh_token=second.refresh_token)))

    assert (reused.reason, after.reason) == ("REFRESH_TOKEN_REUSED", "REFRESH_TOKEN_INVALID")
    assert len(served.users.ListRevocations(pb.ListRevocationsRequest()).session_ids) == 1


def test_a_user_lives_from_creation_to_deletion(served: Served, admin: Metadata) -> None:
    made = create(served, admin, "ada", display_name="Ada", labels={"team": "a"}, password=PASSWORD)
    assert (made.kind, made.state, made.HasField("password")) == (user_pb2.USER_KIND_HUMAN, user_pb2.USER_STATE_ACTIVE, False)

    change = user_pb2.User(id=made.id, display_name="Ada L.", email="ignored", etag=made.etag)
    mask = FieldMask(paths=["display_name"])
    changed = served.users.UpdateUser(pb.UpdateUserRequest(user=change, update_mask=mask), metadata=admin)
    assert (changed.display_name, changed.email, dict(changed.labels)) == ("Ada L.", "", {"team": "a"})

    stale = refusal(lambda: served.users.UpdateUser(pb.UpdateUserRequest(user=change), metadata=admin))
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")

    served.users.DeleteUser(pb.DeleteUserRequest(id=made.id, etag=changed.etag), metadata=admin)
    gone = refusal(lambda: served.users.GetUser(pb.GetUserRequest(id="ada"), metadata=admin))
    assert (gone.code, gone.reason) == (grpc.StatusCode.NOT_FOUND, "USER_NOT_FOUND")


def test_what_cannot_be_changed_is_refused_by_name(served: Served, admin: Metadata) -> None:
    made = create(served, admin, "ada")

    for field, value in [("username", "eve"), ("kind", user_pb2.USER_KIND_SERVICE), ("password", PASSWORD)]:
        request = pb.UpdateUserRequest(user=user_pb2.User(id=made.id, **{field: value}), update_mask=FieldMask(paths=[field]))
        refused = refusal(lambda request=request: served.users.UpdateUser(request, metadata=admin))
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["update_mask"]), field
    for state in (user_pb2.USER_STATE_LOCKED, user_pb2.USER_STATE_UNSPECIFIED):
        request = pb.UpdateUserRequest(user=user_pb2.User(id=made.id, state=state), update_mask=FieldMask(paths=["state"]))
        assert refusal(lambda request=request: served.users.UpdateUser(request, metadata=admin)).reason == "USER_STATE_NOT_SETTABLE"


def test_an_update_of_everything_empties_what_is_empty(served: Served, admin: Metadata) -> None:
    made = create(served, admin, "ada", display_name="Ada", email="ada@example.org", labels={"team": "a"})

    request = pb.UpdateUserRequest(user=user_pb2.User(id=made.id, display_name="A"), update_mask=FieldMask(paths=["*"]))
    changed = served.users.UpdateUser(request, metadata=admin)

    assert (changed.display_name, changed.email, dict(changed.labels), changed.state) == ("A", "", {}, user_pb2.USER_STATE_ACTIVE)


def test_a_creation_that_is_repeated_gives_the_first_answer(served: Served, admin: Metadata) -> None:
    request = pb.CreateUserRequest(user=user_pb2.User(username="ada"), request_id=str(uuid.uuid4()))

    first = served.users.CreateUser(request, metadata=admin)
    assert served.users.CreateUser(request, metadata=admin) == first
    request.request_id = str(uuid.uuid4())
    assert refusal(lambda: served.users.CreateUser(request, metadata=admin)).reason == "USER_EXISTS"


def test_what_was_made_before_its_answer_was_lost_is_the_answer_of_a_repeat(served: Served, admin: Metadata) -> None:
    def three_times(call: Callable[..., Any], request: Any) -> Any:
        request.request_id = str(uuid.uuid4())
        first = call(request, metadata=admin)
        lose_answers_of(served.settings.database_url, "users")
        assert [call(request, metadata=admin) for _ in range(2)] == [first, first]
        return first

    ada = three_times(served.users.CreateUser, pb.CreateUserRequest(user=user_pb2.User(username="ada", password=PASSWORD)))
    role = user_pb2.Role(name="readers", permissions=["registry.models.read"])
    three_times(served.users.CreateRole, pb.CreateRoleRequest(role=role))
    binding = user_pb2.RoleBinding(user_id=ada.id, role="readers", project="p")
    three_times(served.users.CreateRoleBinding, pb.CreateRoleBindingRequest(binding=binding))

    # Another one of the name is not what the request has made.
    request = pb.CreateRoleRequest(role=user_pb2.Role(name="writers", permissions=["registry.models.read"]), request_id=str(uuid.uuid4()))
    made = served.users.CreateRole(request, metadata=admin)
    lose_answers_of(served.settings.database_url, "users")
    made.permissions.append("registry.models.write")
    served.users.UpdateRole(pb.UpdateRoleRequest(role=made, update_mask=FieldMask(paths=["permissions"])), metadata=admin)
    assert refusal(lambda: served.users.CreateRole(request, metadata=admin)).reason == "ROLE_EXISTS"


@pytest.mark.parametrize(
    ("user", "field"),
    [
        (user_pb2.User(username="Ada"), "user.username"),
        (user_pb2.User(username=""), "user"),
        (user_pb2.User(username="ada", password="short"), "user.password"),
        (user_pb2.User(username="ada", display_name="a\0b"), "user.display_name"),
        (user_pb2.User(username="ada", labels={"a\0": "b"}), "user.labels"),
        (user_pb2.User(username="ada", state=9), "user.state"),
    ],
)
def test_bad_fields_are_named(served: Served, admin: Metadata, user: user_pb2.User, field: str) -> None:
    refused = refusal(lambda: served.users.CreateUser(pb.CreateUserRequest(user=user), metadata=admin))

    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.fields[0].startswith(field)


def test_roles_bindings_and_checks_work_together(served: Served, admin: Metadata) -> None:
    ada = create(served, admin, "ada", password=PASSWORD)
    role = user_pb2.Role(name="reader", permissions=["registry.models.read"])
    made = served.users.CreateRole(pb.CreateRoleRequest(role=role), metadata=admin)
    binding = served.users.CreateRoleBinding(
        pb.CreateRoleBindingRequest(binding=user_pb2.RoleBinding(user_id=ada.id, role="reader", project="team")), metadata=admin
    )
    me = bearer(served.login("ada").access_token)

    asked = pb.CheckPermissionsRequest(permissions=["registry.models.read", "registry.models.write"], project="team")
    checked = served.users.CheckPermissions(asked, metadata=me)
    assert (list(checked.granted), list(checked.denied)) == (["registry.models.read"], ["registry.models.write"])
    (grant,) = served.users.GetMe(pb.GetMeRequest(), metadata=me).grants
    assert (grant.project, list(grant.permissions)) == ("team", ["registry.models.read"])

    in_use = refusal(lambda: served.users.DeleteRole(pb.DeleteRoleRequest(name="reader"), metadata=admin))
    assert (in_use.code, in_use.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ROLE_IN_USE")
    served.users.DeleteRoleBinding(pb.DeleteRoleBindingRequest(id=binding.id), metadata=admin)
    served.users.DeleteRole(pb.DeleteRoleRequest(name="reader", etag=made.etag), metadata=admin)
    assert [found.name for found in served.users.ListRoles(pb.ListRolesRequest(filter="built_in = false"), metadata=admin).roles] == []


def test_the_secret_of_a_key_is_in_one_answer_only(served: Served, admin: Metadata) -> None:
    made = served.users.CreateApiKey(
        pb.CreateApiKeyRequest(api_key=user_pb2.ApiKey(display_name="ci", scopes=["registry.*"])), metadata=admin
    )
    listed = served.users.ListApiKeys(pb.ListApiKeysRequest(filter='display_name = "ci"'), metadata=admin)

    assert made.secret.startswith(f"mlm_{made.api_key.id}_")
    assert list(listed.api_keys) == [made.api_key]
    assert made.secret[-49:] not in str(listed)


def test_a_password_is_changed_by_its_owner(served: Served, admin: Metadata) -> None:
    request = pb.ChangePasswordRequest(current_password="wrong", new_password="an even better one")
    assert refusal(lambda: served.users.ChangePassword(request, metadata=admin)).fields == ["current_password"]

    request.current_password = PASSWORD
    served.users.ChangePassword(request, metadata=admin)

    assert served.users.GetMe(pb.GetMeRequest(), metadata=admin).user.username == "admin"
    assert served.login("admin", "an even better one").access_token


def test_the_audit_log_has_who_did_what_and_no_secret(served: Served, admin: Metadata) -> None:
    me = served.users.GetMe(pb.GetMeRequest(), metadata=admin).user.id
    refusal(lambda: served.login("admin", "wrong password"))
    refusal(lambda: served.login("my-secret-password", "x"))
    refusal(lambda: served.users.ExchangeToken(pb.ExchangeTokenRequest(grant_type="none", username="my-secret-password")))
    made = create(served, admin, "ada", password=PASSWORD)
    ada = bearer(served.login("ada").access_token)
    refusal(lambda: served.users.DeleteUser(pb.DeleteUserRequest(id=me), metadata=ada))

    answer = served.users.ListAuditEvents(pb.ListAuditEventsRequest(order_by="sequence"), metadata=admin)
    seen = [(event.method.split("/")[-1], event.subject, event.resource, event.status_code, event.reason) for event in answer.events]

    assert seen == [
        ("Login", "", me, 0, ""),
        ("Login", "", me, 16, "INVALID_CREDENTIALS"),
        ("Login", "", "", 16, "INVALID_CREDENTIALS"),
        ("ExchangeToken", "", "", 3, "UNSUPPORTED_GRANT_TYPE"),
        ("CreateUser", me, "ada", 0, ""),
        ("Login", "", made.id, 0, ""),
        ("DeleteUser", made.id, me, 7, "PERMISSION_DENIED"),
    ]
    assert "password" not in str(answer)
    verdict = served.users.VerifyAuditLog(pb.VerifyAuditLogRequest(), metadata=admin)
    assert (verdict.intact, verdict.event_count) == (True, 7)


def test_the_servers_append_their_events_and_nobody_else_does(served: Served, admin: Metadata) -> None:
    key = (served.settings.data_dir / "secrets" / "mesh.key").read_text().strip()
    grant = pb.ExchangeTokenRequest(grant_type="urn:mlmesh:params:oauth:grant-type:api-key", api_key=key)
    mesh = bearer(served.users.ExchangeToken(grant).access_token)
    event = user_pb2.AuditEvent(
        id=str(uuid.uuid4()), subject="a\0b", method="/mlops.registry.v1.ModelRegistryService/DeleteModel", project="team"
    )
    event.event_time.GetCurrentTime()

    for _ in range(2):
        served.users.AppendAuditEvents(pb.AppendAuditEventsRequest(events=[event]), metadata=mesh)

    found = served.users.ListAuditEvents(pb.ListAuditEventsRequest(filter='project = "team"'), metadata=admin).events
    assert [stored.id for stored in found] == [event.id]
    create(served, admin, "ada", password=PASSWORD)
    ada = bearer(served.login("ada").access_token)
    denied = refusal(lambda: served.users.AppendAuditEvents(pb.AppendAuditEventsRequest(events=[event]), metadata=ada))
    assert denied.code is grpc.StatusCode.PERMISSION_DENIED


def test_permissions_are_listed_for_everybody_who_is_logged_in(served: Served, admin: Metadata) -> None:
    request = pb.ListPermissionsRequest(page_size=3, filter='name = "users.*"')
    names = []
    while True:
        page = served.users.ListPermissions(request, metadata=admin)
        names += [permission.name for permission in page.permissions]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token

    assert names == sorted(names)
    assert "users.audit.append" in names


def test_wrong_lists_are_refused_by_field(served: Served, admin: Metadata) -> None:
    cases = [
        (pb.ListUsersRequest(filter="nothing = 1"), "filter", "FILTER_INVALID"),
        (pb.ListUsersRequest(order_by="email"), "order_by", "ORDER_BY_INVALID"),
        (pb.ListUsersRequest(page_token="x"), "page_token", "PAGE_TOKEN_INVALID"),
    ]
    for request, field, reason in cases:
        refused = refusal(lambda request=request: served.users.ListUsers(request, metadata=admin))
        assert (refused.code, refused.fields, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, [field], reason)
