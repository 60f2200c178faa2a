"""Servers that fail, restart and move, under traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import grpc
import httpx
import pytest
from mlops.registry.v1 import model_pb2

from gateway.configuration import Mesh
from gateway.control_plane.server import SnapshotRejected
from gateway.control_plane.snapshot import snapshot_of
from gateway.drain import drain
from gateway.routes import Target
from gateway.topology import UnixEndpoint, Upstream
from servers.runtime.admission import REFUSED
from tests.integration.gateway.mesh_in_memory import (
    CREATE_MODEL,
    GET_MODEL,
    SERVICES,
    ComponentServer,
    GatewayUnderTest,
    by_status,
    short_folder,
    wait_until,
)


@pytest.fixture
def own_gateway(has_lanes: bool) -> Iterator[GatewayUnderTest]:
    with short_folder() as folder:
        # Pauses between retries are random; on a busy machine six of them may be over before a server is back.
        gateway = GatewayUnderTest(folder, has_lanes=has_lanes, retries=10)
        try:
            yield gateway.start()
        finally:
            gateway.stop()


class Traffic:
    """Asks for a model over and over, on its own connection, from several threads."""

    def __init__(self, gateway: GatewayUnderTest, threads: int = 2) -> None:
        self.answers: list[httpx.Response] = []
        self.errors: list[Exception] = []
        self._gateway = gateway
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: len(self.answers) > 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int = 50) -> None:
        """Returns once some more answers have come."""
        wanted = len(self.answers) + count
        wait_until(lambda: len(self.answers) + len(self.errors) >= wanted)

    def passes_by(self, component: ComponentServer) -> None:
        """Returns once many calls have come in a row of which none went to a component. One may still be on its way there."""

        def none_comes() -> bool:
            component.seen.clear()
            self.more(100)
            return not component.seen

        wait_until(none_comes)

    def begun_after(self, moment: float) -> list[httpx.Response]:
        """Answers to what was asked after a moment: an answer may come long after those to later calls of other threads."""
        return [answer for answer in self.answers if answer.extensions["begun"] > moment]

    def _run(self) -> None:
        headers = self._gateway.auth
        with httpx.Client(base_url=self._gateway.url, timeout=20, trust_env=False) as client:
            while not self._stop.is_set():
                begun = time.monotonic()
                try:
                    answer = client.get("/api/v1/models/m", headers=headers)
                    answer.extensions["begun"] = begun
                    self.answers.append(answer)
                except httpx.HTTPError as error:
                    self.errors.append(error)


def _unavailable(request: Any, context: grpc.ServicerContext) -> NoReturn:
    context.abort(grpc.StatusCode.UNAVAILABLE, "try another time")


def _named(name: str) -> Any:
    return lambda request, context: model_pb2.Model(name=name)


def test_a_safe_method_is_repeated_while_its_server_is_unavailable(gateway: GatewayUnderTest) -> None:
    attempts: list[int] = []

    def second_time_lucky(request: Any, context: grpc.ServicerContext) -> model_pb2.Model:
        attempts.append(1)
        if len(attempts) < 2:
            _unavailable(request, context)
        return model_pb2.Model(name="m")

    gateway.answer("registry", GET_MODEL, second_time_lucky)

    response = gateway.client.get("/api/v1/models/m", headers=gateway.auth)

    assert response.status_code == 200
    assert len(attempts) == 2


def test_a_method_that_is_not_safe_is_never_repeated(gateway: GatewayUnderTest) -> None:
    gateway.answer("registry", CREATE_MODEL, _unavailable)

    response = gateway.client.post("/api/v1/models", headers=gateway.auth, json={"name": "m"})

    assert response.status_code == 503
    assert len(gateway.components["registry"].calls(CREATE_MODEL)) == 1


def test_what_a_stopping_server_refused_before_it_began_is_repeated_whatever_the_method(gateway: GatewayUnderTest) -> None:
    attempts: list[int] = []

    def refused_at_first(request: Any, context: grpc.ServicerContext) -> model_pb2.Model:
        attempts.append(1)
        if len(attempts) < 2:
            context.set_trailing_metadata([(REFUSED, "1")])
            _unavailable(request, context)
        return model_pb2.Model(name="m")

    gateway.answer("registry", CREATE_MODEL, refused_at_first)

    response = gateway.client.post("/api/v1/models", headers=gateway.auth, json={"name": "m"})

    assert response.status_code == 200
    assert len(attempts) == 2


def test_a_method_that_is_not_safe_is_not_repeated_when_its_server_dies_in_the_middle(own_gateway: GatewayUnderTest) -> None:
    registry, is_answered = own_gateway.components["registry"], threading.Event()

    def die(request: Any, context: grpc.ServicerContext) -> model_pb2.Model:
        threading.Thread(target=registry.stop).start()
        is_answered.wait(60)
        return model_pb2.Model()

    own_gateway.answer("registry", CREATE_MODEL, die)

    response = own_gateway.client.post("/api/v1/models", headers=own_gateway.auth, json={"name": "m"})
    is_answered.set()

    assert response.status_code in (499, 500, 503)
    assert len(registry.calls(CREATE_MODEL)) == 1


def test_a_server_that_restarts_fails_no_safe_request(own_gateway: GatewayUnderTest) -> None:
    with Traffic(own_gateway) as traffic:
        for _ in range(3):
            # A call that arrives just then may last as long as the grace, and the gateway tries the others again for 4 s.
            own_gateway.components["registry"].stop(grace_s=1.5)
            old = own_gateway.components["registry"]
            own_gateway.components["registry"] = ComponentServer(old.path, old.component)
            traffic.more()
    own_gateway.components["registry"].stop()

    assert traffic.errors == []
    assert [own_gateway.log_line(answer) for answer in traffic.answers if answer.status_code != 200] == []


def test_an_endpoint_that_is_not_ready_gets_nothing_until_it_is(own_gateway: GatewayUnderTest) -> None:
    folder = own_gateway.folder
    second = ComponentServer(folder / "registry2.sock")
    first = own_gateway.components["registry"]
    both = Upstream("registry", (UnixEndpoint(str(first.path)), UnixEndpoint(str(second.path))), SERVICES["registry"])
    admin = own_gateway.envoy.admin
    own_gateway.publish(Mesh({**own_gateway.mesh.upstreams, "registry": both}))
    try:
        wait_until(lambda: admin.healthy_endpoints("registry") == 2)
        with Traffic(own_gateway) as traffic:
            traffic.more(100)
            assert first.seen
            assert second.seen

            second.set_ready(False)
            wait_until(lambda: admin.healthy_endpoints("registry") == 1)
            traffic.passes_by(second)

            second.set_ready(True)
            wait_until(lambda: admin.healthy_endpoints("registry") == 2)
            wait_until(lambda: bool(second.seen))

        assert by_status(traffic.answers) == {200: len(traffic.answers)}
    finally:
        own_gateway.publish()
        second.stop()


def test_an_endpoint_whose_answers_fail_is_ejected_though_its_health_check_passes(own_gateway: GatewayUnderTest) -> None:
    second = ComponentServer(own_gateway.folder / "registry2.sock")
    second.component.answers[GET_MODEL] = _unavailable
    first = own_gateway.components["registry"]
    both = Upstream("registry", (UnixEndpoint(str(first.path)), UnixEndpoint(str(second.path))), SERVICES["registry"])
    own_gateway.publish(Mesh({**own_gateway.mesh.upstreams, "registry": both}))
    try:
        with Traffic(own_gateway) as traffic:
            wait_until(lambda: own_gateway.envoy.admin.stat("cluster.registry.outlier_detection.ejections_active") == 1)
            traffic.passes_by(second)

        assert by_status(traffic.answers) == {200: len(traffic.answers)}, "a repeat on the other endpoint hides what fails"
    finally:
        own_gateway.publish()
        second.stop()


def test_weights_move_and_clusters_come_and_go_under_load_without_a_failed_request(own_gateway: GatewayUnderTest) -> None:
    green = ComponentServer(own_gateway.folder / "green.sock")
    own_gateway.answer("registry", GET_MODEL, _named("blue"))
    green.component.answers[GET_MODEL] = _named("green")
    upstreams = {
        **own_gateway.mesh.upstreams,
        "registry@green": Upstream("registry", (UnixEndpoint(str(green.path)),), SERVICES["registry"]),
    }

    def split(blue: int, green: int) -> Mesh:
        return Mesh(upstreams, {"registry": (Target("registry", blue), Target("registry@green", green))})

    try:
        with Traffic(own_gateway, threads=4) as traffic:
            own_gateway.publish(Mesh(upstreams))
            wait_until(lambda: own_gateway.envoy.admin.healthy_endpoints("registry@green") == 1)
            for blue, green_weight in [(100, 0), (90, 10), (50, 50), (0, 100), (30, 70), (0, 100)]:
                own_gateway.publish(split(blue, green_weight))
                traffic.more(40)
            all_is_green = time.monotonic()
            traffic.more(40)
            only_green = {answer.json()["name"] for answer in traffic.begun_after(all_is_green)}
            own_gateway.publish(split(100, 0))
            traffic.more(40)
            own_gateway.publish()
            all_is_blue = time.monotonic()
            traffic.more(40)

        assert traffic.errors == []
        assert by_status(traffic.answers) == {200: len(traffic.answers)}
        assert only_green == {"green"}
        assert {answer.json()["name"] for answer in traffic.begun_after(all_is_blue)} == {"blue"}
        # A worker of Envoy may hold the cluster for a moment longer.
        wait_until(lambda: own_gateway.envoy.admin.stats("cluster.registry@green.") == {})
    finally:
        green.stop()


def test_a_configuration_that_envoy_refuses_is_taken_back_whole(own_gateway: GatewayUnderTest) -> None:
    good = own_gateway.snapshot()
    listener = own_gateway.contracts
    broken = own_gateway.snapshot(jwks='{"keys": []}')
    assert listener

    own_gateway.control_plane.publish(broken)
    with pytest.raises(SnapshotRejected, match="jwt_authn") as refused:
        own_gateway.control_plane.wait_acknowledged(broken, 60)
    own_gateway.control_plane.wait_acknowledged(good, 60)

    assert refused.value.rejection.snapshot_version == broken.version
    assert own_gateway.control_plane.target == good
    assert own_gateway.client.get("/api/v1/models/m", headers=own_gateway.auth).status_code == 200


def test_a_configuration_that_is_published_again_is_not_sent_again(own_gateway: GatewayUnderTest) -> None:
    admin = own_gateway.envoy.admin
    before = admin.stat("control_plane.connected_state"), admin.stat("listener_manager.lds.update_attempt")

    for _ in range(3):
        own_gateway.publish()

    assert (admin.stat("control_plane.connected_state"), admin.stat("listener_manager.lds.update_attempt")) == before


def test_draining_lets_running_calls_finish_and_tells_clients_to_leave(own_gateway: GatewayUnderTest) -> None:
    is_running, release = threading.Event(), threading.Event()

    def slow(request: Any, context: grpc.ServicerContext) -> model_pb2.Model:
        is_running.set()
        release.wait(60)
        return model_pb2.Model(name="m")

    own_gateway.answer("registry", CREATE_MODEL, slow)
    answers: list[httpx.Response] = []
    caller = threading.Thread(
        target=lambda: answers.append(own_gateway.client.post("/api/v1/models", headers=own_gateway.auth, json={"name": "m"}))
    )
    caller.start()
    assert is_running.wait(60)

    gave_up = drain(own_gateway.envoy.admin, 0.3, pause=threading.Event().wait)
    release.set()
    is_quiet = drain(own_gateway.envoy.admin, 60, pause=threading.Event().wait)
    caller.join()

    assert (gave_up, is_quiet) == (False, True)
    assert answers[0].status_code == 200
    assert answers[0].headers["connection"] == "close"


def test_resources_without_their_cluster_never_reach_envoy_in_the_wrong_order(own_gateway: GatewayUnderTest) -> None:
    """The whole configuration at once, of which routes name clusters that are new, works because clusters come first."""
    twins = {
        f"twin{number}": Upstream("registry", own_gateway.mesh.upstreams["registry"].endpoints, SERVICES["registry"])
        for number in range(20)
    }
    targets = tuple(Target(name, 1) for name in twins)

    own_gateway.publish(Mesh({**own_gateway.mesh.upstreams, **twins}))
    wait_until(lambda: all(own_gateway.envoy.admin.healthy_endpoints(name) == 1 for name in twins))
    with Traffic(own_gateway) as traffic:
        own_gateway.publish(Mesh({**own_gateway.mesh.upstreams, **twins}, {"registry": targets}))
        traffic.more(100)
        own_gateway.publish()
        traffic.more(50)

    assert by_status(traffic.answers) == {200: len(traffic.answers)}
    assert snapshot_of([]).version != own_gateway.snapshot().version
