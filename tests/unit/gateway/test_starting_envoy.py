"""How Envoy is started, drained and asked."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.rpc import error_details_pb2
from pydantic import ValidationError

from gateway.admin import Admin, AdminError
from gateway.bootstrap import envoy_program, write_bootstrap
from gateway.clusters import collector_cluster
from gateway.drain import drain
from gateway.policies import RateClass
from gateway.replies import REPLIES, local_reply_config, status_of
from gateway.settings import GatewaySettings, RateLimit
from servers.runtime.listening import ListenError


def test_the_program_of_the_installed_package_is_found_without_importing_it() -> None:
    assert envoy_program().is_file()
    assert envoy_program().name == "envoy"


@pytest.fixture
def run_dir() -> Iterator[Path]:
    # The path of a Unix socket is short, and that of `tmp_path` may not be.
    with tempfile.TemporaryDirectory(prefix="gw-") as folder:
        yield Path(folder)


def test_the_bootstrap_file_names_the_control_plane_and_the_admin_socket_only(run_dir: Path, tmp_path: Path) -> None:
    settings = GatewaySettings(data_dir=tmp_path, run_dir=run_dir)

    command = write_bootstrap(settings)

    written = json.loads(settings.bootstrap_file.read_text())
    assert settings.bootstrap_file.stat().st_mode & 0o777 == 0o600
    assert written["admin"]["address"]["pipe"] == {"path": str(run_dir / "envoy-admin.sock"), "mode": 0o600}
    assert [cluster["name"] for cluster in written["static_resources"]["clusters"]] == ["control-plane"]
    assert "listeners" not in written["static_resources"]
    assert command[1:3] == ["--config-path", str(settings.bootstrap_file)]
    assert "--disable-hot-restart" in command


def test_a_folder_too_deep_for_a_socket_is_refused_before_envoy_does(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="shorter run_dir"):
        write_bootstrap(GatewaySettings(data_dir=tmp_path, run_dir=tmp_path / ("x" * 100)))


def test_an_envoy_that_is_not_there_is_an_admin_error(tmp_path: Path) -> None:
    admin = Admin(tmp_path / "none.sock")

    assert not admin.is_ready()
    with pytest.raises(AdminError, match="does not answer"):
        admin.check()


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


class _Busy(Admin):
    """An Envoy with so many requests running, look by look."""

    def __init__(self, *active: int) -> None:
        super().__init__(Path("/none"))
        self.active = list(active)
        self.is_draining = False

    def start_draining(self) -> None:
        self.is_draining = True

    def active_requests(self) -> int:
        return self.active.pop(0) if len(self.active) > 1 else self.active[0]


def test_draining_ends_when_nothing_has_run_for_a_moment() -> None:
    clock, admin = _Clock(), _Busy(3, 2, 0, 1, 0)

    assert drain(admin, 10, pause=clock.pause, clock=clock)
    assert admin.is_draining
    assert 0.3 < clock.now < 1


def test_draining_gives_up_in_time() -> None:
    clock = _Clock()

    assert not drain(_Busy(1), 2, pause=clock.pause, clock=clock)
    assert 2 <= clock.now < 2.2


@pytest.mark.parametrize(
    ("endpoint", "kind", "has_tls"),
    [
        ("http://127.0.0.1:4317", "STATIC", False),
        ("127.0.0.1:4317", "STATIC", False),
        ("unix:/run/system.sock", "STATIC", False),
        ("http://collector", "STRICT_DNS", False),
        ("https://collector.example.org:443", "STRICT_DNS", True),
    ],
)
def test_a_collector_is_reached_as_its_url_says(endpoint: str, kind: str, has_tls: bool) -> None:
    cluster = collector_cluster(GatewaySettings(otlp_endpoint=endpoint))

    assert cluster is not None
    assert cluster.DiscoveryType.Name(cluster.type) == kind
    assert cluster.HasField("transport_socket") == has_tls


def test_without_a_collector_there_is_no_cluster_for_one() -> None:
    assert collector_cluster(GatewaySettings()) is None


def test_limits_that_are_set_replace_the_default_of_their_class_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMESH_GATEWAY_RATE_LIMITS", '{"AUTH": {"per_second": 1, "burst": 2}}')
    settings = GatewaySettings()

    assert settings.rate_limit(RateClass.AUTH) == RateLimit(per_second=1, burst=2)
    assert settings.rate_limit(RateClass.READ) == GatewaySettings.model_construct().rate_limit(RateClass.READ)


@pytest.mark.parametrize("limits", ['{"NOPE": {"per_second": 1, "burst": 2}}', '{"AUTH": {"per_second": 0, "burst": 2}}', '{"AUTH": {}}'])
def test_a_limit_that_makes_no_sense_is_refused_at_the_start(limits: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLMESH_GATEWAY_RATE_LIMITS", limits)

    with pytest.raises(ValidationError):
        GatewaySettings()


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: f"{reply.reason}-{reply.condition[:40]}")
def test_every_refusal_has_one_reason_and_says_when_to_return_if_ever(reply: object) -> None:
    status = status_of(reply)  # type: ignore[arg-type]

    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert [detail.Unpack(info) for detail in status.details].count(True) == 1
    assert (info.domain, bool(info.reason)) == ("mlmesh", True)
    assert any(detail.Unpack(retry) for detail in status.details) == reply.has_retry  # type: ignore[attr-defined]
    assert len(status.message.encode()) <= 1024


def test_grpc_callers_get_a_code_and_details_and_others_json() -> None:
    for mapper in local_reply_config().mappers:
        names = {option.header.key for option in mapper.headers_to_add}
        assert mapper.HasField("body_format_override") != ({"grpc-status", "grpc-status-details-bin"} <= names)
