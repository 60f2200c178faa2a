from __future__ import annotations

import stat
from pathlib import Path

import pytest

from servers.runtime.paging import Listing
from servers.users.accounts import NewUser, UserUpdate
from servers.users.composition import Domain, open_domain, places_of
from servers.users.errors import ApiKeyInvalid
from servers.users.identities import UserKind, UserState
from tests.users_under_test import ROOT, FakeClock, cheap_settings


@pytest.fixture
def empty(tmp_path: Path, clock: FakeClock) -> Domain:
    return open_domain(cheap_settings(tmp_path / "new"), clock)


def prepare(domain: Domain, folder: Path) -> str | None:
    return domain.first_start.prepare("admin", places_of(cheap_settings(folder / "new")))


def credential(file: Path) -> str:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return file.read_text("ascii").strip()


def test_the_first_start_makes_an_administrator_with_a_password_told_once(empty: Domain, tmp_path: Path) -> None:
    password = prepare(empty, tmp_path)

    assert password is not None
    assert empty.logins.with_password("admin", password).access.text
    assert prepare(empty, tmp_path) is None
    assert empty.logins.with_password("admin", password).access.text


def test_the_password_is_in_no_file(empty: Domain, tmp_path: Path) -> None:
    password = prepare(empty, tmp_path)
    assert password is not None

    for file in (tmp_path / "new").rglob("*"):
        if file.is_file():
            assert password.encode() not in file.read_bytes(), file


def test_the_files_let_the_command_line_and_the_servers_in(empty: Domain, tmp_path: Path) -> None:
    prepare(empty, tmp_path)

    admin = empty.api_keys.examine(credential(tmp_path / "new" / "token"))
    mesh = empty.api_keys.examine(credential(tmp_path / "new" / "secrets" / "mesh.key"))
    assert admin.subject.grants == {"*": frozenset({"*"})}
    assert mesh.user_kind is UserKind.SERVICE
    assert "users.audit.append" in mesh.subject.grants["*"]
    assert "*" not in mesh.subject.grants["*"]


def test_the_database_can_be_read_by_its_owner_only(empty: Domain, tmp_path: Path) -> None:
    prepare(empty, tmp_path)

    files = list((tmp_path / "new").glob("*.db*"))
    assert any(file.suffix == ".db" for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files if not file.name.endswith("lock"))


def test_a_file_that_is_missing_is_made_again_and_its_old_key_ends(empty: Domain, tmp_path: Path) -> None:
    prepare(empty, tmp_path)
    file = tmp_path / "new" / "token"
    old = credential(file)
    file.unlink()

    assert prepare(empty, tmp_path) is None

    assert credential(file) != old
    with pytest.raises(ApiKeyInvalid):
        empty.api_keys.examine(old)


def test_files_that_work_are_left_alone(empty: Domain, tmp_path: Path) -> None:
    prepare(empty, tmp_path)
    before = {name: credential(tmp_path / "new" / name) for name in ("token", "secrets/mesh.key")}

    prepare(empty, tmp_path)

    assert {name: credential(tmp_path / "new" / name) for name in before} == before
    assert len(empty.api_keys.page(ROOT, "-", Listing())[0]) == 2


@pytest.mark.parametrize("content", [b"", b"mlm_damaged", b"\xff\xfe", b"mlm_" + b"0" * 66])
def test_a_file_that_does_not_work_is_replaced(empty: Domain, tmp_path: Path, content: bytes) -> None:
    prepare(empty, tmp_path)
    file = tmp_path / "new" / "token"
    file.write_bytes(content)

    prepare(empty, tmp_path)

    assert empty.api_keys.examine(credential(file)).subject.name == "admin"


def test_a_disabled_administrator_gets_no_new_key(empty: Domain, tmp_path: Path) -> None:
    prepare(empty, tmp_path)
    second = empty.accounts.create(NewUser("second"))
    empty.roles.bind(ROOT, second.id, "admin", "*")
    empty.accounts.update(ROOT, empty.accounts.get("admin").id, UserUpdate(state=UserState.DISABLED), "")
    (tmp_path / "new" / "token").unlink()

    prepare(empty, tmp_path)

    assert not (tmp_path / "new" / "token").exists()


def test_a_service_account_that_lost_its_role_gets_it_back(empty: Domain, tmp_path: Path) -> None:
    prepare(empty, tmp_path)
    (binding,) = empty.roles.bindings_page(ROOT, Listing(filter='role = "mesh-service"'))[0]
    empty.roles.unbind(ROOT, binding.id)

    prepare(empty, tmp_path)

    assert len(empty.roles.bindings_page(ROOT, Listing(filter='role = "mesh-service"'))[0]) == 1
