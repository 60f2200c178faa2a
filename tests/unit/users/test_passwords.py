from __future__ import annotations

import threading

import argon2
import pytest

from servers.users.errors import TooManyLogins, WeakPassword
from servers.users.passwords import PasswordCost, PasswordHasher, check_new_password, generated_password

CHEAP = PasswordCost(memory_kib=64, iterations=1, lanes=1)


def test_a_password_verifies_against_its_hash_only() -> None:
    hasher = PasswordHasher(CHEAP)
    stored = hasher.hash("correct horse")

    assert stored.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert hasher.verify(stored, "correct horse")
    assert not hasher.verify(stored, "correct horse ")
    assert stored != hasher.hash("correct horse")


def test_a_user_without_a_password_costs_as_much_and_is_always_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(CHEAP)
    seen: list[argon2.Parameters] = []
    verify = argon2.PasswordHasher.verify

    def spy(self: argon2.PasswordHasher, stored: str, password: str) -> bool:
        seen.append(argon2.extract_parameters(stored))
        return bool(verify(self, stored, password))

    monkeypatch.setattr(argon2.PasswordHasher, "verify", spy)

    assert not hasher.verify(None, "anything")
    assert not hasher.verify(hasher.hash("right"), "wrong")
    assert seen[0] == seen[1]


def test_a_damaged_hash_is_no_crash() -> None:
    assert not PasswordHasher(CHEAP).verify("$argon2id$damaged", "anything")


def test_a_hash_of_other_parameters_is_outdated() -> None:
    stored = PasswordHasher(CHEAP).hash("x")

    assert not PasswordHasher(CHEAP).is_outdated(stored)
    assert PasswordHasher(PasswordCost(memory_kib=128, iterations=1, lanes=1)).is_outdated(stored)


def test_only_some_hash_at_once_some_wait_and_the_rest_is_refused() -> None:
    hasher = PasswordHasher(CHEAP, parallelism=1, waiting=1, wait_s=60)
    inside, leave, waited = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with hasher.turn():
            inside.set()
            leave.wait(60)

    def second() -> None:
        with hasher.turn():
            waited.set()

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    while hasher._admitted._value > 0:  # the second has been admitted, and waits
        threading.Event().wait(0.001)

    with pytest.raises(TooManyLogins), hasher.turn():
        pass

    leave.set()
    assert waited.wait(60)
    for thread in threads:
        thread.join()


def test_waiting_too_long_is_refused() -> None:
    hasher = PasswordHasher(CHEAP, parallelism=1, waiting=1, wait_s=0.01)

    with hasher.turn(), pytest.raises(TooManyLogins), hasher.turn():
        pass
    with hasher.turn():
        pass


def test_generated_passwords_pass_the_policy() -> None:
    for _ in range(200):
        check_new_password(generated_password(), "admin", "password")


@pytest.mark.parametrize(("password", "message"), [("x" * 11, "12 to"), ("abababababab", "different"), ("i am Administrator", "user name")])
def test_the_policy_says_what_is_wrong(password: str, message: str) -> None:
    with pytest.raises(WeakPassword, match=message) as refused:
        check_new_password(password, "administrator", "new_password")
    assert refused.value.field_violations[0][0] == "new_password"


def test_short_names_may_occur_in_passwords() -> None:
    check_new_password("a cat that jumps", "cat", "password")
