from __future__ import annotations

import threading

import pytest

from servers.serving.errors import ModelNotFound, RegistryUnavailable
from servers.serving.model_source import ModelChoice
from servers.serving.resolution import Resolver

FLIGHTS = ModelChoice("default", "flights")


@pytest.fixture
def resolver(source, clock):
    return Resolver(source, ttl_s=2, timeout_s=1, refresh_timeout_s=0.5, max_choices=3, clock=clock)


def test_an_answer_counts_for_a_moment(resolver, source, clock):
    source.save("flights")
    resolver.resolve(FLIGHTS)
    clock.seconds = 1.9
    resolver.resolve(FLIGHTS)
    assert source.asked == 1

    source.save("flights")
    clock.seconds = 2.0
    assert resolver.resolve(FLIGHTS).version == 2
    assert source.asked == 2


def test_without_the_registry_the_last_answer_stays_and_is_not_asked_for_by_every_caller(resolver, source, clock):
    source.save("flights")
    resolver.resolve(FLIGHTS)
    source.outage = RegistryUnavailable("away")

    for second in range(2, 10):
        clock.seconds = second
        assert resolver.resolve(FLIGHTS).version == 1

    assert source.asked == 1 + 4


def test_after_an_outage_the_registry_counts_again(resolver, source, clock):
    source.save("flights")
    resolver.resolve(FLIGHTS)
    source.outage = RegistryUnavailable("away")
    clock.seconds = 2
    resolver.resolve(FLIGHTS)
    source.outage = None
    source.save("flights")
    clock.seconds = 4

    assert resolver.resolve(FLIGHTS).version == 2


def test_without_the_registry_a_choice_never_asked_for_is_unavailable(resolver, source):
    source.outage = RegistryUnavailable("away")

    with pytest.raises(RegistryUnavailable):
        resolver.resolve(FLIGHTS)


def test_a_model_that_was_deleted_is_no_longer_found(resolver, source, clock):
    source.save("flights")
    resolver.resolve(FLIGHTS)
    del source.versions["flights"]
    clock.seconds = 2

    for _ in range(2):
        with pytest.raises(ModelNotFound):
            resolver.resolve(FLIGHTS)


def test_while_one_caller_asks_again_the_others_go_on_with_what_is_known(resolver, source, clock, gate):
    source.save("flights")
    resolver.resolve(FLIGHTS)
    asking = threading.Event()

    def hang() -> None:
        asking.set()
        assert gate.wait(10)

    source.before_answer = hang
    clock.seconds = 2
    slow = threading.Thread(target=resolver.resolve, args=(FLIGHTS,))
    slow.start()
    assert asking.wait(10)

    assert resolver.resolve(FLIGHTS).version == 1
    gate.set()
    slow.join(10)
    assert source.asked == 2


def test_the_least_recently_used_answer_goes_first(resolver, source):
    for name in "abcd":
        source.save(name)
    for name in "abc":
        resolver.resolve(ModelChoice("default", name))
    resolver.resolve(ModelChoice("default", "a"))
    resolver.resolve(ModelChoice("default", "d"))
    asked = source.asked

    resolver.resolve(ModelChoice("default", "a"))
    assert source.asked == asked
    resolver.resolve(ModelChoice("default", "b"))
    assert source.asked == asked + 1
