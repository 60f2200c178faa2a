from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from servers.system.health import HealthWatch, NoAnswerError, without_addresses
from servers.system.reports import ComponentReport, DependencyReport, Health, overall

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


@dataclass
class Component:
    """Answers what a test says."""

    clock: Clock
    state: Health = Health.HEALTHY
    failure: str = ""
    asked: int = 0
    meanwhile: Callable[[], None] = field(default=lambda: None)

    def __call__(self) -> ComponentReport:
        self.asked += 1
        self.meanwhile()
        if self.failure:
            raise NoAnswerError(self.failure)
        dependency = DependencyReport("database", self.state, "", START, 1.0)
        return ComponentReport("", "0.1.0", self.state, "", START, START, (dependency,))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watch(clock: Clock, **components: Component | list[Component]) -> HealthWatch:
    asks = {name: asked if isinstance(asked, list) else [asked] for name, asked in components.items()}
    return HealthWatch(asks, cache_s=1.0, now=clock.now, clock=clock)


def test_a_mesh_of_healthy_components_is_healthy_and_lists_them_by_name(clock):
    report = watch(clock, users=Component(clock), registry=Component(clock)).report()

    assert report.state is Health.HEALTHY
    assert [component.component for component in report.components] == ["registry", "users"]


def test_a_component_that_does_not_answer_is_unavailable_with_reason_and_since_when(clock):
    users, registry = Component(clock), Component(clock)
    watching = watch(clock, users=users, registry=registry)
    watching.report()
    clock.seconds = 10
    users.failure = "not reachable"
    watching.report()
    clock.seconds = 20

    report = watching.report()

    down = report.components[1]
    assert report.state is Health.DEGRADED
    assert (down.component, down.state, down.reason) == ("users", Health.UNAVAILABLE, "not reachable")
    assert down.since == START + timedelta(seconds=10)
    assert (down.version, down.start_time) == ("0.1.0", START)


def test_a_component_that_never_answered_is_unavailable_since_it_was_asked_first(clock):
    users = Component(clock, failure="not reachable")
    watching = watch(clock, users=users)
    watching.report()
    clock.seconds = 5

    report = watching.report()

    assert report.state is Health.UNAVAILABLE
    assert report.components[0].since == START


def test_a_component_is_degraded_while_one_of_its_workers_is_away_whichever_it_is(clock):
    workers = [Component(clock), Component(clock)]
    watching = watch(clock, serving=workers)
    assert watching.report().state is Health.HEALTHY
    for number, worker in enumerate(workers, 1):
        clock.seconds += 10
        worker.failure = "not reachable"
        away_at = clock.now()
        watching.report()
        clock.seconds += 10

        (serving,) = watching.report().components

        assert (serving.component, serving.state) == ("serving", Health.DEGRADED)
        assert serving.reason == f"worker {number}: not reachable"
        assert serving.since == away_at
        worker.failure = ""
    clock.seconds += 10
    assert watching.report().state is Health.HEALTHY


def test_a_component_without_a_worker_that_answers_is_unavailable(clock):
    workers = [Component(clock, failure="not reachable"), Component(clock, failure="not reachable")]

    (serving,) = watch(clock, serving=workers).report().components

    assert (serving.state, serving.reason) == (Health.UNAVAILABLE, "not reachable")


def test_an_answer_is_given_again_for_a_moment(clock):
    users = Component(clock)
    watching = watch(clock, users=users)

    watching.report()
    clock.seconds = 0.9
    watching.report()
    assert users.asked == 1

    clock.seconds = 1.0
    watching.report()
    assert users.asked == 2


def test_an_answer_that_is_not_healthy_is_given_again_for_a_shorter_moment(clock):
    users = Component(clock, failure="not reachable")
    watching = watch(clock, users=users)

    watching.report()
    clock.seconds = 0.2
    watching.report()
    assert users.asked == 1

    clock.seconds = 0.25
    users.failure = ""
    assert watching.report().state is Health.HEALTHY


def test_callers_do_not_wait_for_a_component_that_hangs_once_an_answer_is_known(clock):
    users = Component(clock)
    watching = watch(clock, users=users)
    before = watching.report()
    clock.seconds = 2
    hanging, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        assert go_on.wait(10)

    users.meanwhile = hang
    slow = threading.Thread(target=watching.report)
    slow.start()
    assert hanging.wait(10)

    meanwhile = watching.report()
    go_on.set()
    slow.join(10)

    assert meanwhile is before


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], Health.HEALTHY),
        ([Health.HEALTHY], Health.HEALTHY),
        ([Health.HEALTHY, Health.DEGRADED], Health.DEGRADED),
        ([Health.UNAVAILABLE, Health.HEALTHY], Health.DEGRADED),
        ([Health.UNAVAILABLE, Health.UNAVAILABLE], Health.UNAVAILABLE),
    ],
)
def test_the_mesh_is_as_good_as_its_components(states, expected):
    assert overall(states) is expected


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("last error: unix:/tmp/m/run/users.sock: connect failed", "last error: … connect failed"),
        ("connection to server at 10.0.0.5 failed", "connection to server at … failed"),
        ("cannot reach db.internal:5432 now", "cannot reach … now"),
        ("OSError: /var/lib/mlmesh/blobs is full", "OSError: … is full"),
        ("postgresql+psycopg://user:secret@db/x refused", "… refused"),
        ("http://127.0.0.1:9000/bucket answers 403", "… answers 403"),
        ("refused by [::1]:9103", "refused by …"),
        ("no answer within 2 s", "no answer within 2 s"),
        ("keys: ConnectionError: the users server does not answer", "keys: ConnectionError: the users server does not answer"),
        ("Envoy answers 503 to GET /ready: PRE_INITIALIZING", "Envoy answers 503 to GET /ready: PRE_INITIALIZING"),
        ("database: OperationalError: at 12:30:59 and/or later", "database: OperationalError: at … and/or later"),
    ],
)
def test_reasons_say_why_and_not_where(reason, shown):
    assert without_addresses(reason) == shown
