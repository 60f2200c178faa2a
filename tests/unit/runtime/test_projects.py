from __future__ import annotations

from typing import Any

import pytest
from mlops.common.v1.options_pb2 import MethodPolicy
from mlops.registry.v1 import model_pb2
from mlops.registry.v1 import registry_service_pb2 as registry_pb
from mlops.users.v1 import user_pb2
from mlops.users.v1 import users_service_pb2 as users_pb

from servers.runtime.projects import projects_reader
from servers.runtime.resources import resource_reader


def projects(request: Any, inherited: str = "default") -> tuple[str, ...]:
    return tuple(projects_reader(type(request))(request, inherited))


@pytest.mark.parametrize(
    ("request_message", "expected"),
    [
        (users_pb.GetUserRequest(id="u"), ("default",)),
        (registry_pb.GetModelRequest(name="m"), ("default",)),
        (registry_pb.GetModelRequest(name="m", project="zoo"), ("zoo",)),
        (users_pb.CreateRoleBindingRequest(), ("default",)),
        (users_pb.CreateRoleBindingRequest(binding=user_pb2.RoleBinding(role="reader")), ("default",)),
        (users_pb.CreateRoleBindingRequest(binding=user_pb2.RoleBinding(project="zoo")), ("zoo",)),
        (users_pb.CreateRoleBindingRequest(binding=user_pb2.RoleBinding(project="*")), ("*",)),
        (
            users_pb.AppendAuditEventsRequest(events=[user_pb2.AuditEvent(project=name) for name in ("zoo", "", "lab", "zoo")]),
            ("zoo", "default", "lab"),
        ),
    ],
)
def test_every_project_that_a_request_names_is_found(request_message: Any, expected: tuple[str, ...]) -> None:
    assert projects(request_message) == expected


def test_an_empty_project_inherits_from_the_messages_before_it() -> None:
    assert projects(registry_pb.GetModelRequest(name="m"), inherited="zoo") == ("zoo",)
    assert projects(registry_pb.GetModelRequest(name="m", project="lab"), inherited="zoo") == ("lab",)


def test_a_contract_that_is_not_ours_has_one_project() -> None:
    assert projects_reader(None)(object(), "default") == ("default",)


def test_no_method_of_the_mesh_hides_a_project_where_it_is_not_looked_for() -> None:
    """Every string field `project` that a request can carry, however deep, is one that the reader finds."""
    from google.protobuf import descriptor_pool, message_factory
    from mlops.common.v1.options_pb2 import ACCESS_PERMISSION, policy
    from mlops.serving.v1 import serving_service_pb2
    from mlops.system.v1 import system_service_pb2

    services = [
        service
        for module in (registry_pb, users_pb, serving_service_pb2, system_service_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    assert services
    for method in (method for service in services for method in service.methods):
        own: MethodPolicy = method.GetOptions().Extensions[policy]
        if own.access != ACCESS_PERMISSION:
            continue
        request_class = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(method.input_type.full_name))
        for path in _project_paths(method.input_type):
            request = request_class()
            _set(request, path, "hidden")
            assert "hidden" in projects(request), (method.full_name, path)


def _project_paths(descriptor: Any, seen: tuple[str, ...] = ()) -> list[list[Any]]:
    if descriptor.full_name in seen:
        return []
    found = []
    for field in descriptor.fields:
        if field.name == "project" and field.type == field.TYPE_STRING:
            found.append([field])
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            found += [[field, *rest] for rest in _project_paths(field.message_type, (*seen, descriptor.full_name))]
    return found


def _set(message: Any, path: list[Any], value: str) -> None:
    *parents, last = path
    for field in parents:
        child = getattr(message, field.name)
        message = child.add() if field.is_repeated else child
        if not field.is_repeated:
            message.SetInParent()
    setattr(message, last.name, value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (registry_pb.GetModelRequest(name="cat"), "cat"),
        (registry_pb.GetModelVersionRequest(model="cat", version=3), "cat/versions/3"),
        (registry_pb.UpdateModelVersionRequest(version=model_pb2.ModelVersion(model="cat", version=3)), "cat/versions/3"),
        (users_pb.RevokeApiKeyRequest(id="k1"), "k1"),
        (users_pb.LoginRequest(username="ada", password="secret"), "ada"),
        (users_pb.CreateUserRequest(user=user_pb2.User(username="ada", password="secret")), "ada"),
        (users_pb.CreateRoleBindingRequest(), ""),
        (users_pb.GetMeRequest(), ""),
    ],
)
def test_the_audit_log_names_the_resource_and_nothing_else(message: Any, expected: str) -> None:
    assert resource_reader(type(message))(message) == expected
