"""Processes start on demand, may be killed at any moment, and end with their server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from grpc import StatusCode

from servers.ingestion.data_process import (
    DataProcesses,
    DataProcessOutOfMemory,
    DataProcessSettings,
    DataProcessUnavailable,
    OperationFailed,
)
from servers.ingestion.data_process.processes import PROGRAM
from servers.runtime.data_process.errors import OperationTooLarge
from servers.runtime.errors import DomainError
from tests.integration.ingestion.data_process.conftest import BUSY, PATIENCE_S, MakeProcesses, SilentS3, child_pids, ingestion, wait_for_end

LOOK = {"project": "p", "dataset": "none"}


class Cancelled(Exception):
    """What a caller's check raises."""


def look(processes: DataProcesses) -> int:
    """Does an operation that needs no data, and returns the process that did it."""
    with pytest.raises(OperationFailed, match="has no table"):
        processes.run("describe", LOOK)
    [pid] = child_pids()
    return pid


def scratch_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / "scratch").iterdir()}


class TestStarting:
    def test_nothing_starts_before_an_operation_comes_and_then_a_process_is_kept(self, make: MakeProcesses) -> None:
        processes = make()
        assert child_pids() == set()
        first = look(processes)
        # On a thread that ends: the kernel must not take it for the end of the server.
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(look, processes).result() == first
        assert look(processes) == first

    def test_two_operations_run_at_once(self, make: MakeProcesses, silent: SilentS3) -> None:
        processes, is_over = make(**silent.settings), threading.Event()
        with ThreadPoolExecutor(2) as threads:
            runs = [threads.submit(processes.run, "ingest", BUSY, check=raising(is_over)) for _ in range(2)]
            silent.wait_for_reader()
            silent.wait_for_reader()
            assert len(child_pids()) == 2
            is_over.set()
            assert {type(run.exception(PATIENCE_S)) for run in runs} == {Cancelled}
        assert child_pids() == set()

    def test_more_operations_than_processes_wait_and_are_asked_whether_to_go_on(self, make: MakeProcesses, silent: SilentS3) -> None:
        processes, is_over, has_waited = make(**silent.settings, most_processes=1), threading.Event(), threading.Event()
        checks: list[None] = []

        def waiting_check() -> None:
            checks.append(None)
            if len(checks) == 3:
                has_waited.set()

        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(processes.run, "ingest", BUSY, check=raising(is_over))
            silent.wait_for_reader()
            second = threads.submit(processes.run, "describe", LOOK, check=waiting_check)
            assert has_waited.wait(PATIENCE_S)
            assert not silent.has_reader()
            assert not second.done()
            is_over.set()
            assert type(first.exception(PATIENCE_S)) is Cancelled
            error = second.exception(PATIENCE_S)
            assert isinstance(error, OperationFailed)
            assert error.reason == "TABLE_NOT_FOUND"

    def test_arguments_beyond_what_a_message_holds_are_refused(self, processes: DataProcesses) -> None:
        with pytest.raises(OperationTooLarge):
            processes.run("describe", {"project": "p" * (64 << 20)})
        assert child_pids() == set()

    def test_large_arguments_arrive(self, processes: DataProcesses) -> None:
        with pytest.raises(OperationFailed) as caught:
            processes.run("describe", LOOK | {"dataset": "d" * (32 << 20)})
        assert caught.value.reason == "TABLE_NAME_INVALID"

    def test_settings_that_cannot_be_understood_are_refused_at_once(self, make: MakeProcesses) -> None:
        with pytest.raises(ValueError, match="URL of tables"):
            make(tables_url="/tables")
        with pytest.raises(ValueError, match="MLMESH_INGESTION_ALLOWED_SOURCES"):
            make(allowed_sources=("/data",))


def raising(event: threading.Event) -> Any:
    def check() -> None:
        if event.is_set():
            raise Cancelled

    return check


class TestEnding:
    def test_a_check_that_raises_kills_the_process(self, make: MakeProcesses, silent: SilentS3, tmp_path: Path) -> None:
        processes, is_over = make(**silent.settings), threading.Event()
        with ThreadPoolExecutor(1) as thread:
            run = thread.submit(processes.run, "ingest", BUSY, check=raising(is_over))
            silent.wait_for_reader()
            is_over.set()
            assert type(run.exception(PATIENCE_S)) is Cancelled
        assert child_pids() == set()
        assert list((tmp_path / "scratch").glob("pool-*/process-*")) == []
        look(processes)

    def test_a_listener_that_raises_kills_the_process(self, processes: DataProcesses, inbox: Path) -> None:
        (inbox / "a.csv").write_text("a\n1\n")

        def listen(progress: Any) -> None:
            raise Cancelled

        with pytest.raises(Cancelled):
            processes.run("ingest", ingestion(inbox / "a.csv"), on_progress=listen)
        assert child_pids() == set()

    @pytest.mark.parametrize(("number", "reason"), [(signal.SIGKILL, "DATA_PROCESS_OUT_OF_MEMORY"), (signal.SIGSEGV, "DATA_PROCESS_DIED")])
    def test_a_process_that_dies_takes_only_its_own_operation_with_it(
        self, make: MakeProcesses, silent: SilentS3, number: signal.Signals, reason: str
    ) -> None:
        processes = make(**silent.settings)
        with ThreadPoolExecutor(1) as thread:
            run = thread.submit(processes.run, "ingest", BUSY)
            silent.wait_for_reader()
            [pid] = child_pids()
            os.kill(pid, number)
            error = run.exception(PATIENCE_S)
        assert isinstance(error, DomainError)
        assert error.reason == reason
        assert number.name in error.message
        assert look(processes) != pid

    def test_an_idle_process_that_died_is_replaced(self, processes: DataProcesses) -> None:
        pid = look(processes)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
        assert look(processes) != pid

    def test_signals_for_the_whole_group_do_not_end_an_operation(self, processes: DataProcesses) -> None:
        pid = look(processes)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGINT)
        assert look(processes) == pid

    def test_an_idle_process_ends(self, make: MakeProcesses) -> None:
        processes = make(idle_s=0.01)
        with pytest.raises(OperationFailed):
            processes.run("describe", LOOK)
        for pid in child_pids():
            wait_for_end(pid)
        with pytest.raises(OperationFailed):
            processes.run("describe", LOOK)

    def test_want_of_memory_is_told_and_the_server_lives(self, make: MakeProcesses, inbox: Path) -> None:
        (inbox / "a.csv").write_text("a\n1\n")
        small = make(memory_bytes=96 << 20)
        with pytest.raises(DomainError) as caught:
            small.run("ingest", ingestion(inbox / "a.csv"))
        assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.reason in (DataProcessOutOfMemory.reason, "OUT_OF_MEMORY")
        assert "MLMESH_INGESTION_PROCESS_MEMORY_BYTES" in caught.value.message
        # Nobody knows what state it is in.
        assert child_pids() == set()
        assert make().run("ingest", ingestion(inbox / "a.csv"))["rows_written"] == 1

    def test_a_limit_of_memory_that_suffices_is_no_hindrance(self, make: MakeProcesses, inbox: Path) -> None:
        (inbox / "a.csv").write_text("a\n1\n")
        assert make(memory_bytes=4 << 30).run("ingest", ingestion(inbox / "a.csv"))["rows_written"] == 1


class TestClosing:
    def test_closing_ends_what_runs_and_leaves_nothing(self, make: MakeProcesses, silent: SilentS3, tmp_path: Path) -> None:
        processes = make(**silent.settings, most_processes=1)
        with ThreadPoolExecutor(2) as threads:
            run = threads.submit(processes.run, "ingest", BUSY)
            silent.wait_for_reader()
            waiting = threads.submit(processes.run, "describe", LOOK)
            processes.close()
            assert child_pids() == set()
            assert {type(each.exception(PATIENCE_S)) for each in (run, waiting)} == {DataProcessUnavailable}
        assert scratch_of(tmp_path) == {"start.lock"}
        with pytest.raises(DataProcessUnavailable):
            processes.run("describe", LOOK)
        processes.close()

    def test_closing_ends_idle_processes(self, processes: DataProcesses) -> None:
        look(processes)
        processes.close()
        assert child_pids() == set()


PARENT = """
import sys, threading
from pathlib import Path
from servers.ingestion.data_process import DataProcesses, DataProcessSettings, OperationFailed
folder = Path(sys.argv[1])
processes = DataProcesses(DataProcessSettings(
    tables_url=(folder / "tables").as_uri(), scratch_folder=folder / "scratch", allowed_sources=("s3://silent",), s3_endpoint=sys.argv[2]
))
if sys.argv[3] == "busy":
    source = {"kind": "uri", "uri": "s3://silent/a.csv"}
    arguments = {"project": "p", "dataset": "d", "ingestion_id": "1", "mode": "APPEND", "source": source}
    threading.Thread(target=processes.run, args=("ingest", arguments), daemon=True).start()
else:
    try:
        processes.run("describe", {"project": "p", "dataset": "d"})
    except OperationFailed as error:
        print(error.reason, flush=True)
sys.stdin.read()
"""


class TestOrphans:
    @pytest.mark.parametrize("state", ["busy", "idle"])
    def test_a_process_ends_with_a_server_that_is_killed(self, make: MakeProcesses, silent: SilentS3, tmp_path: Path, state: str) -> None:
        command = [sys.executable, "-c", PARENT, str(tmp_path), silent.endpoint, state]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            if state == "busy":
                silent.wait_for_reader()
            else:
                assert server.stdout is not None
                assert server.stdout.readline() == b"TABLE_NOT_FOUND\n"
            [pid] = pids_below(server.pid)
            server.kill()
            wait_for_end(pid)
        left = scratch_of(tmp_path) - {"start.lock"}
        assert len(left) == 1
        make()
        assert not left & scratch_of(tmp_path)

    def test_a_busy_process_ends_with_its_standard_input_where_the_kernel_does_not_help(self, silent: SilentS3, tmp_path: Path) -> None:
        settings = DataProcessSettings(
            tables_url=tmp_path.as_uri(), scratch_folder=tmp_path, allowed_sources=("s3://silent",), s3_endpoint=silent.endpoint
        ).for_process(tmp_path)
        with subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(orjson.dumps(settings) + b"\n" + orjson.dumps({"operation": "ingest", "arguments": BUSY}) + b"\n")
            process.stdin.flush()
            silent.wait_for_reader()
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0


def pids_below(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]


BLOCKER = """
import os
print("noise")
os.write(1, b"noise\\n")
raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")
"""


class TestInstallation:
    def test_a_missing_package_is_told_and_prints_do_not_break_the_protocol(
        self, processes: DataProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "shims").mkdir()
        (tmp_path / "shims" / "pyarrow.py").write_text(BLOCKER)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shims"))
        with pytest.raises(OperationFailed) as caught:
            processes.run("describe", LOOK)
        assert (caught.value.code, caught.value.reason) == (StatusCode.FAILED_PRECONDITION, "DATA_EXTRA_MISSING")
        assert "mlmesh[data]" in caught.value.message
        assert "noise" in capfd.readouterr().err

    def test_a_fault_is_in_the_log_alone(self, processes: DataProcesses, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(OperationFailed) as caught:
            processes.run("no-such-operation", {})
        assert (caught.value.code, caught.value.reason) == (StatusCode.INTERNAL, "INTERNAL")
        assert "no-such-operation" not in caught.value.message
        assert "KeyError: 'no-such-operation'" in capfd.readouterr().err
