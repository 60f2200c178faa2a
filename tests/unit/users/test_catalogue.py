from __future__ import annotations

from pathlib import Path

import pytest

from aip_filter import FilterError, OrderByError, PageTokenError
from servers.runtime.paging import Listing
from servers.users.catalogue import Catalogue, PermissionUse
from servers.users.converters import permissions_in_contracts
from servers.users.grants import is_permission
from servers.users.identities import BUILT_IN_ROLES
from servers.users.settings import UsersSettings

DESCRIPTORS = UsersSettings(data_dir=Path("/tmp")).descriptor_file.read_bytes()


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue(lambda: permissions_in_contracts(DESCRIPTORS))


def test_every_permission_of_the_contracts_is_there_with_its_methods(catalogue: Catalogue) -> None:
    found = {permission.name: permission.methods for permission in catalogue.page(Listing(page_size=1000))[0]}

    assert "/mlops.registry.v1.ModelRegistryService/GetModel" in found["registry.models.read"]
    assert "/mlops.common.v1.ComponentService/GetComponentMetrics" in found["system.metrics.read"]
    assert all(is_permission(name) and "*" not in name for name in found)


def test_every_permission_of_a_built_in_role_exists(catalogue: Catalogue) -> None:
    from servers.users.grants import covers

    for name, (_, permissions) in BUILT_IN_ROLES.items():
        for permission in permissions:
            assert any(covers(permission, known) for known in catalogue.names()), f"{name} has {permission}, which nothing asks for"


def test_pages_part_the_whole_in_order(catalogue: Catalogue) -> None:
    names, token = [], ""
    while True:
        page, token = catalogue.page(Listing(page_size=4, page_token=token, order_by="name desc"))
        names += [permission.name for permission in page]
        if not token:
            break

    assert names == sorted(catalogue.names(), reverse=True)


def test_a_filter_selects(catalogue: Catalogue) -> None:
    page, _ = catalogue.page(Listing(filter='name = "registry.*"'))

    assert {permission.name.split(".")[0] for permission in page} == {"registry"}


def test_wrong_queries_are_refused() -> None:
    catalogue = Catalogue(lambda: [PermissionUse("a.b", ()), PermissionUse("a.c", ())])

    with pytest.raises(FilterError):
        catalogue.page(Listing(filter="methods = 1"))
    with pytest.raises(OrderByError):
        catalogue.page(Listing(order_by="methods"))
    _, token = catalogue.page(Listing(page_size=1))
    with pytest.raises(PageTokenError):
        catalogue.page(Listing(page_size=1, page_token=token, order_by="name desc"))


def test_the_contracts_are_read_on_first_use_only() -> None:
    reads: list[int] = []

    def load() -> list[PermissionUse]:
        reads.append(1)
        return []

    catalogue = Catalogue(load)
    assert reads == []
    catalogue.names()
    catalogue.names()
    assert reads == [1]
