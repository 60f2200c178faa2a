"""What is missing is said before anything starts; what starts is reached from this machine only."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from distributed import LocalCluster

from servers.processing.engines import capabilities
from servers.processing.engines.capabilities import availability
from servers.processing.engines.errors import EngineNotInstalled, EngineUnreachable
from servers.processing.engines.kinds import EngineKind, EngineSettings
from servers.processing.engines.local import LocalEngine
from servers.processing.engines.opening import open_engine
from servers.processing.plan.nodes import Aggregate, Column, Scan
from tests.engines.processing.conftest import Opened
from tests.integration.processing.relations import LIMITS, bound, results, rows_of

TABLES = {"rows": pa.table({"key": [1, 2, 2, None], "value": [1, 2, 3, 4]})}
STEPS = (Scan("rows", "rows"), Aggregate("sums", "rows", (Column("key", "key"),), (Column("sum", "sum(value)"),)))


@pytest.mark.parametrize("kind", EngineKind)
def test_all_engines_are_available_here(kind: EngineKind) -> None:
    found = availability(kind, EngineSettings())

    assert found.is_available
    assert found.version[0].isdigit()
    assert not found.reason


@pytest.mark.parametrize(("kind", "package"), [(EngineKind.RAY, "ray"), (EngineKind.DASK, "distributed"), (EngineKind.SPARK, "pyspark")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, kind: EngineKind, package: str) -> None:
    def without(name: str) -> str:
        if name == package:
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(capabilities, "version", without)

    with pytest.raises(EngineNotInstalled, match=rf"{package} is missing; install 'mlmesh\[processing-{kind.value.lower()}\]'"):
        open_engine(kind, EngineSettings()).__enter__()


def test_without_java_spark_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineNotInstalled, match=r"no `java` on PATH; Spark needs Java 17 or newer: install it .*openjdk-17-jre-headless"):
        open_engine(EngineKind.SPARK, EngineSettings()).__enter__()

    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "below JAVA_HOME" in availability(EngineKind.SPARK, EngineSettings()).reason


@pytest.mark.parametrize(("version", "is_available"), [("1.8.0_402", False), ("11.0.22", False), ("17.0.15", True), ("21", True)])
def test_an_old_java_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, is_available: bool) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/java").touch(0o755)
    (tmp_path / "release").write_text(f'IMPLEMENTOR="X"\nJAVA_VERSION="{version}"\n')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    assert availability(EngineKind.SPARK, EngineSettings()).is_available is is_available


def test_a_spill_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "create it" in availability(EngineKind.LOCAL, EngineSettings(spill_folder=tmp_path / "none")).reason


def test_rays_client_is_refused() -> None:
    assert "host:6379" in availability(EngineKind.RAY, EngineSettings(address="ray://head:10001")).reason


def test_nothing_heavy_is_imported_to_ask() -> None:
    heavy = ("pyarrow", "duckdb", "ray", "dask", "distributed", "pyspark", "grpc")
    program = (
        "import sys; from servers.processing.engines.opening import *; "
        "[availability(kind, EngineSettings()) for kind in EngineKind]; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )

    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_workers_listen_on_the_loopback_only(opened: Opened) -> None:
    own, addresses = psutil.Process(), set[str]()
    for process in (own, *own.children(recursive=True)):
        # Engines start and end helpers all the time; one that has ended since does not listen.
        with suppress(psutil.NoSuchProcess):
            addresses |= {each.laddr.ip for each in process.net_connections() if each.status == psutil.CONN_LISTEN}

    assert addresses
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_a_scheduler_that_runs_already_is_used_and_left_running(tmp_path: Path) -> None:
    plan = bound(TABLES, *STEPS)
    with LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address=None) as cluster:
        settings = EngineSettings(address=cluster.scheduler_address, spill_folder=tmp_path)
        for _ in range(2):
            with open_engine(EngineKind.DASK, settings) as engine:
                found = results(engine, plan, TABLES)

    assert rows_of(found["sums"]) == rows_of(results(LocalEngine(LIMITS), plan, TABLES)["sums"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        (EngineKind.DASK, "tcp://127.0.0.1:9"),
        (EngineKind.RAY, "127.0.0.1:9"),
        (EngineKind.RAY, "[::1]:9"),
        (EngineKind.SPARK, "spark://127.0.0.1:9"),
    ],
)
def test_a_cluster_that_does_not_answer_is_an_error_with_a_name(kind: EngineKind, address: str) -> None:
    with pytest.raises(EngineUnreachable, match=f"{re.escape(address)} does not answer"):
        open_engine(kind, EngineSettings(address=address)).__enter__()
