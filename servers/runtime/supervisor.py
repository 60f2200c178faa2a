"""Starts the processes of a mesh, keeps them running, and stops them in order.

Every process has one task, which owns its whole life: wait for those it starts after, start, wait for health, watch, restart. The
supervisor holds no state of the mesh besides the processes themselves, so it may be killed at any moment: its children die with it
(`orphan_guard`), and the next `mlmesh up` begins from what the servers have stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from servers.runtime import log_files
from servers.runtime.processes import GrpcProbe, HttpProbe, Process, check_table
from servers.runtime.supervision_limits import SupervisionLimits, restart_delay_s

_GUARD = Path(__file__).with_name("orphan_guard.py")
_PROBE_INTERVAL_S = 0.1
_TAIL_LINES = 20

log = logging.getLogger(__name__)


class ProcessState(enum.StrEnum):
    """Where a process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    HEALTHY = "healthy"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class ProcessStatus:
    """What is known of a process now.

    Args:
        name: Name of the process.
        state: Where it is in its life.
        pid: Process id; None while it does not run.
        since: When `state` was entered.
        restarts: Restarts since the mesh was started.
        last_exit: How it last ended, in a sentence; empty where it never did.
    """

    name: str
    state: ProcessState
    pid: int | None
    since: datetime
    restarts: int = 0
    last_exit: str = ""


class StartFailed(Exception):
    """A process did not become healthy, so the mesh did not start.

    Args:
        process: Name of the process.
        reason: Why, in a sentence.
        log_file: Its log.
        log_tail: The last lines that it wrote since it was started.
    """

    def __init__(self, process: str, reason: str, log_file: Path, log_tail: str) -> None:
        super().__init__(f"{process} {reason}")
        self.process = process
        self.reason = reason
        self.log_file = log_file
        self.log_tail = log_tail


@dataclass
class _Child:
    spec: Process
    status: ProcessStatus
    log_path: Path
    running: asyncio.subprocess.Process | None = None
    healthy: asyncio.Event = field(default_factory=asyncio.Event)
    log_start: int = 0


Probe = Callable[[GrpcProbe | HttpProbe], Awaitable[None]]


async def _default_probe(probe: GrpcProbe | HttpProbe) -> None:
    if not probe.socket.exists():
        raise FileNotFoundError(f"{probe.socket.name} does not exist yet")
    # Imported once there is somebody to ask: gRPC takes 150 ms of the processor that the children need to start.
    from servers.runtime.probes import check

    await check(probe)


class Supervisor:
    """Runs a table of processes.

    Args:
        processes: The table.
        environment: Environment of every child.
        working_dir: Folder in which the children run.
        log_dir: Folder for `<process>.log`.
        limits: How patient it is.
        on_change: Called with the status of all processes whenever one changed.
        probe: Returns when a process is ready, raises with the reason when it is not.

    Raises:
        ValueError: The table is wrong.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        environment: Mapping[str, str],
        working_dir: Path,
        log_dir: Path,
        limits: SupervisionLimits | None = None,
        on_change: Callable[[tuple[ProcessStatus, ...]], None] = lambda _: None,
        probe: Probe = _default_probe,
    ) -> None:
        check_table(processes)
        self._environment = dict(environment)
        self._working_dir = working_dir
        self._limits = limits or SupervisionLimits()
        self._on_change = on_change
        self._probe = probe
        self._children = {
            process.name: _Child(process, ProcessStatus(process.name, ProcessState.WAITING, None, _now()), log_dir / f"{process.name}.log")
            for process in processes
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._is_started = False
        self._is_stopping = False

    @property
    def statuses(self) -> tuple[ProcessStatus, ...]:
        """Status of every process, in the order of the table."""
        return tuple(child.status for child in self._children.values())

    async def start(self) -> None:
        """Starts everything and returns once all of it is healthy.

        Raises:
            StartFailed: A process ended or did not become healthy in time. Everything else runs on: call `stop`.
        """
        self._tasks = [asyncio.create_task(self._keep_running(child), name=name) for name, child in self._children.items()]
        healthy = asyncio.create_task(self._all_healthy())
        done, _ = await asyncio.wait({healthy, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        if healthy in done:
            self._is_started = True
            self._tasks += [asyncio.create_task(self._rotate_logs())]
            return
        healthy.cancel()
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Stops every process: first those that nothing needs, with SIGTERM and grace, then those they needed."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        gone = {name: asyncio.Event() for name in self._children}
        await asyncio.gather(*(self._stop_in_turn(child, gone) for child in self._children.values()))

    async def _all_healthy(self) -> None:
        for child in self._children.values():
            await child.healthy.wait()

    async def _keep_running(self, child: _Child) -> None:
        for name in child.spec.starts_after:
            await self._children[name].healthy.wait()
        in_a_row = 0
        while True:
            started = monotonic()
            running = await self._spawn(child)
            reason = await self._watch(child, running)
            child.healthy.clear()
            if not self._is_started:
                tail = log_files.tail(child.log_path, _TAIL_LINES, since_byte=child.log_start)
                raise StartFailed(child.spec.name, reason, child.log_path, tail)
            if monotonic() - started >= self._limits.stable_after_s:
                in_a_row = 0
            delay_s = restart_delay_s(in_a_row, self._limits)
            in_a_row += 1
            log.warning("%s %s; restarting in %.1f s", child.spec.name, reason, delay_s)
            self._change(child, ProcessState.RESTARTING, restarts=child.status.restarts + 1, last_exit=reason)
            await asyncio.sleep(delay_s)

    async def _spawn(self, child: _Child) -> asyncio.subprocess.Process:
        for probe in child.spec.probes:
            # What a killed server left behind would be taken for a server that is there and does not answer.
            probe.socket.unlink(missing_ok=True)
        child.log_start = log_files.size_of(child.log_path)
        with log_files.open_log(child.log_path) as output:
            # -I -S: the guard needs neither site-packages nor the environment's PYTHONPATH, and so starts in a few milliseconds.
            child.running = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_GUARD), str(os.getpid())),
                *child.spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env={**self._environment, **child.spec.environment},
                cwd=self._working_dir,
                process_group=0,
            )
        self._change(child, ProcessState.STARTING)
        return child.running

    async def _watch(self, child: _Child, running: asyncio.subprocess.Process) -> str:
        """Returns, once the process has ended, how it did."""
        exited = asyncio.create_task(running.wait())
        watching = asyncio.create_task(self._watch_health(child))
        try:
            await asyncio.wait({exited, watching}, return_when=asyncio.FIRST_COMPLETED)
            reason = _how_it_ended(exited.result()) if exited.done() else watching.result()
            # Also when it ended by itself: what it had started in its group must not hold its port or its files.
            _signal_group(child, signal.SIGKILL)
            await exited
            return reason
        finally:
            watching.cancel()
            exited.cancel()

    async def _watch_health(self, child: _Child) -> str:
        """Returns, once the process has to be killed, why."""
        refusal = await self._become_healthy(child)
        if refusal:
            return refusal
        child.healthy.set()
        self._change(child, ProcessState.HEALTHY)
        last_answer = monotonic()
        alive = tuple(GrpcProbe(probe.socket) if isinstance(probe, GrpcProbe) else probe for probe in child.spec.probes)
        while True:
            await asyncio.sleep(self._limits.liveness_interval_s)
            why_not = await self._why_not(alive)
            if not why_not:
                last_answer = monotonic()
            elif monotonic() - last_answer >= self._limits.hang_timeout_s:
                return f"did not answer for {self._limits.hang_timeout_s:g} s ({why_not})"

    async def _become_healthy(self, child: _Child) -> str:
        try:
            async with asyncio.timeout(self._limits.start_timeout_s):
                why_not = "not asked yet"
                while why_not:
                    why_not = await self._why_not(child.spec.probes)
                    if why_not:
                        await asyncio.sleep(_PROBE_INTERVAL_S)
        except TimeoutError:
            return f"was not healthy {self._limits.start_timeout_s:g} s after its start ({why_not})"
        return ""

    async def _why_not(self, probes: Sequence[GrpcProbe | HttpProbe]) -> str:
        answers = await asyncio.gather(*(self._probe(probe) for probe in probes), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, asyncio.CancelledError):
                raise answer
        return "; ".join(str(answer) for answer in answers if answer is not None)

    async def _stop_in_turn(self, child: _Child, gone: Mapping[str, asyncio.Event]) -> None:
        for other in self._children.values():
            if child.spec.name in other.spec.needs:
                await gone[other.spec.name].wait()
        if child.running is not None:
            self._change(child, ProcessState.STOPPING)
            await self._drain(child)
            await self._terminate(child, child.running)
        self._change(child, ProcessState.STOPPED)
        gone[child.spec.name].set()

    async def _drain(self, child: _Child) -> None:
        if not child.spec.drain_command or child.running is None or child.running.returncode is not None:
            return
        with log_files.open_log(child.log_path) as output:
            drain = await asyncio.create_subprocess_exec(
                *child.spec.drain_command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env={**self._environment, **child.spec.environment},
                cwd=self._working_dir,
            )
        try:
            await asyncio.wait_for(drain.wait(), self._limits.drain_timeout_s)
        except TimeoutError:
            log.warning("%s did not drain within %g s", child.spec.name, self._limits.drain_timeout_s)
            drain.kill()
            await drain.wait()

    async def _terminate(self, child: _Child, running: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            running.terminate()
        try:
            await asyncio.wait_for(running.wait(), self._limits.stop_grace_s)
        except TimeoutError:
            log.warning("%s did not stop within %g s and is killed", child.spec.name, self._limits.stop_grace_s)
        _signal_group(child, signal.SIGKILL)
        await running.wait()

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(self._limits.liveness_interval_s)
            for child in self._children.values():
                # A full disk must not take the supervisor down; the next round tries again.
                with contextlib.suppress(OSError):
                    log_files.rotate(child.log_path, self._limits.log_size_bytes)

    def _change(self, child: _Child, state: ProcessState, *, restarts: int | None = None, last_exit: str | None = None) -> None:
        runs = state in (ProcessState.STARTING, ProcessState.HEALTHY, ProcessState.STOPPING)
        child.status = replace(
            child.status,
            state=state,
            pid=child.running.pid if runs and child.running is not None else None,
            since=_now(),
            restarts=child.status.restarts if restarts is None else restarts,
            last_exit=child.status.last_exit if last_exit is None else last_exit,
        )
        self._on_change(self.statuses)


def _signal_group(child: _Child, signal_number: int) -> None:
    if child.running is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.running.pid, signal_number)


def _how_it_ended(return_code: int) -> str:
    if return_code < 0:
        return f"was killed by {signal.Signals(-return_code).name}"
    return f"ended with exit code {return_code}"


def _now() -> datetime:
    return datetime.now(UTC)
