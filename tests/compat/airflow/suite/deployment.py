"""A whole Airflow: API server, scheduler, DAG processor and triggerer, each a process, with workers that the scheduler starts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from given import DEPLOYMENT_DATABASE

_PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")
# Of a slow machine that has other things to do: everything here takes a few seconds on an idle one.
PATIENCE_S = 150.0


@dataclass
class Deployment:
    """A running Airflow.

    Args:
        home: Its folder.
        port: Port of its API.
        processes: Its processes by name.
    """

    home: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, part: str) -> None:
        arguments = ["--port", str(self.port), "--workers", "1"] if part == "api-server" else []
        with (self.home / f"{part}.log").open("ab") as log:
            self.processes[part] = subprocess.Popen(
                ["airflow", part, *arguments], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, part: str) -> None:
        """Kills it at once, with all that it has started."""
        process = self.processes.pop(part)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @property
    def environment(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.port}"
        return {
            **os.environ,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of this test alone, and long enough to be one" * 2,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": DEPLOYMENT_DATABASE,
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            # A worker that asks anew while the API server is still at the first request is refused: its task runs already.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": str(PATIENCE_S),
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # How soon another triggerer takes over, and a task learns that somebody has marked it.
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "3",
        }

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = httpx.request(method, f"http://127.0.0.1:{self.port}/api/v2{path}", json=body, timeout=PATIENCE_S)
        assert answer.is_success, answer.text
        return answer.json()

    def trigger(self, dag_id: str, **conf: Any) -> TaskOfRun:
        """Has a run of a DAG begin, and returns its task `take_in`."""
        run = self.call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf})
        return TaskOfRun(self, dag_id, run["dag_run_id"])

    def logs(self) -> str:
        return "".join(path.read_text("utf-8", errors="replace") for path in self.home.rglob("*.log"))

    def last_words(self) -> str:
        ends = {path: path.read_text("utf-8", errors="replace")[-10_000:] for path in self.home.rglob("*.log")}
        return "\n".join(f"== {path}\n{end}" for path, end in ends.items())


@dataclass(frozen=True)
class TaskOfRun:
    """The task `take_in` of a run.

    Args:
        airflow: Where it runs.
        dag_id: Its DAG.
        run_id: Its run.
    """

    airflow: Deployment
    dag_id: str
    run_id: str

    @property
    def run_path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"

    @property
    def path(self) -> str:
        return f"{self.run_path}/taskInstances/take_in"

    @property
    def state(self) -> str | None:
        state: str | None = self.airflow.call("GET", self.path)["state"]
        return state

    @property
    def tries(self) -> int:
        return int(self.airflow.call("GET", self.path)["try_number"])

    @property
    def value(self) -> Any:
        return self.airflow.call("GET", f"{self.path}/xcomEntries/return_value?deserialize=true")["value"]

    def reach(self, *states: str) -> None:
        eventually(lambda: self.state in states, lambda: f"{self.path} is {self.state}\n{self.airflow.last_words()}")

    def reach_try(self, number: int) -> None:
        eventually(lambda: self.tries == number, lambda: f"{self.path} is {self.state} in try {self.tries}\n{self.airflow.last_words()}")

    def reach_end_of_run(self) -> None:
        """Waits until the run has succeeded."""
        eventually(lambda: self.airflow.call("GET", self.run_path)["state"] == "success", self.airflow.last_words)

    def mark_failed(self) -> None:
        self.airflow.call("PATCH", self.path, {"new_state": "failed"})

    def clear(self) -> None:
        body = {"dry_run": False, "only_failed": False, "dag_run_id": self.run_id, "task_ids": ["take_in"]}
        self.airflow.call("POST", f"/dags/{self.dag_id}/clearTaskInstances", body)

    def lose_worker(self) -> None:
        """Kills the process that runs the task, as a machine that is out of memory does."""
        # It is called after this try of the task; the worker that has started it is called after the task.
        title = f"airflow worker -- {self.airflow.call('GET', self.path)['id']}"
        scheduler = psutil.Process(self.airflow.processes["scheduler"].pid)
        (runner,) = [child for child in scheduler.children(recursive=True) if title_of(child) == title]
        runner.kill()


def title_of(process: psutil.Process) -> str | None:
    """Returns what it is called, or None where it has just ended."""
    try:
        return next(iter(process.cmdline()), None)
    except psutil.NoSuchProcess:
        return None


def eventually(is_so: Callable[[], bool], otherwise: Callable[[], str] = lambda: "it never was") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.2)


@contextmanager
def deployed(home: Path, dags: Sequence[str]) -> Iterator[Deployment]:
    """Starts an Airflow that knows the DAGs, and stops it at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    airflow = Deployment(home, port)
    subprocess.run(["airflow", "db", "migrate"], env=airflow.environment, check=True, capture_output=True, timeout=300)
    try:
        for part in _PARTS:
            airflow.start(part)
        eventually(lambda: all(is_known(airflow, dag) for dag in dags), airflow.last_words)
        yield airflow
    finally:
        for part in [*airflow.processes]:
            airflow.kill(part)


def is_known(airflow: Deployment, dag_id: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{airflow.port}/api/v2/dags/{dag_id}", timeout=10).is_success
    except httpx.TransportError:
        return False
