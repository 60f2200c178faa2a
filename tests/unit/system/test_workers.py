from __future__ import annotations

from datetime import UTC, datetime, timedelta

from servers.system.reports import ComponentReport, DependencyReport, Health
from servers.system.workers import as_one

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


def report(
    state: Health = Health.HEALTHY,
    reason: str = "",
    *,
    since: int = 0,
    version: str = "0.1.0",
    dependencies: tuple[DependencyReport, ...] = (),
) -> ComponentReport:
    return ComponentReport("serving", version, state, reason, at(since), at(since), dependencies)


def dependency(name: str, state: Health = Health.HEALTHY, reason: str = "") -> DependencyReport:
    return DependencyReport(name, state, reason, START, 1.0)


def test_a_lone_process_is_told_of_as_it_is():
    lone = report(Health.DEGRADED, "users: away")

    assert as_one([lone]) is lone


def test_workers_that_are_healthy_make_a_healthy_component_since_the_last_of_them():
    joined = as_one([report(since=1), report(since=5)])

    assert (joined.state, joined.reason, joined.since, joined.start_time) == (Health.HEALTHY, "", at(5), at(1))


def test_a_reason_names_the_worker_that_has_it():
    joined = as_one([report(), report(Health.UNAVAILABLE, "not reachable", since=3)])

    assert (joined.state, joined.reason, joined.since) == (Health.DEGRADED, "worker 2: not reachable", at(3))


def test_different_reasons_are_all_told():
    joined = as_one([report(Health.DEGRADED, "users: away", since=2), report(Health.UNAVAILABLE, "not reachable", since=3)])

    assert joined.reason == "worker 1: users: away; worker 2: not reachable"
    assert joined.since == at(2), "DEGRADED since the first of them is ill"


def test_a_reason_that_all_have_is_told_once():
    joined = as_one([report(Health.DEGRADED, "registry: away")] * 2)

    assert (joined.state, joined.reason) == (Health.DEGRADED, "registry: away")


def test_a_component_is_unavailable_since_its_last_worker_went():
    joined = as_one([report(Health.UNAVAILABLE, "not reachable", since=2), report(Health.UNAVAILABLE, "not reachable", since=4)])

    assert (joined.state, joined.since) == (Health.UNAVAILABLE, at(4))


def test_the_version_is_that_of_a_worker_that_has_answered():
    assert as_one([report(Health.UNAVAILABLE, "not reachable", version=""), report()]).version == "0.1.0"


def test_a_dependency_is_as_the_worker_sees_it_that_finds_it_worst():
    first = report(dependencies=(dependency("registry"), dependency("keys")))
    second = report(dependencies=(dependency("registry", Health.UNAVAILABLE, "no answer"), dependency("keys")))

    joined = as_one([first, second])

    assert [(one.name, one.state, one.reason) for one in joined.dependencies] == [
        ("keys", Health.HEALTHY, ""),
        ("registry", Health.UNAVAILABLE, "no answer"),
    ]
