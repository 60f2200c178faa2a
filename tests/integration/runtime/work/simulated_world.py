"""Workers that die at any commit, are paused beyond their leases, are drained and are asked to stop, in an order made from a seed.

It runs the code that the real workers run (`TaskTable`, `Holds`, `perform`, `write_ending`); only time, threads and deaths are simulated.
A handler runs in a thread of its own that has to be told to take the next step, so one thread runs at a time and a seed is one history.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, insert, select, update

from servers.runtime.errors import NotFound, Unavailable
from servers.runtime.work import Lease, LeaseLost, NewTask, Result, Retry, Run, Task, TaskState, TaskTable, WorkSettings
from servers.runtime.work.endings import Work, perform, write_ending
from servers.runtime.work.holds import Holds
from servers.runtime.work.task_rows import tasks as task_rows
from sql_engine import write
from tests.integration.runtime.work.conftest import Clock

PROCESSES = 3
SETTINGS = WorkSettings(lease_s=15, first_retry_s=4, longest_retry_s=20)
CRASHES_OF_1000_COMMITS = 60

_metadata = MetaData()
records = Table(
    "sim_records", _metadata, Column("id", String(128), primary_key=True), Column("ended", Integer), Column("state", String(16))
)
effects = Table("sim_effects", _metadata, Column("number", Integer, primary_key=True), Column("id", String(128)), Column("fence", Integer))


class Crash(BaseException):
    """The process is gone. No `except Exception` may notice."""


class RunThread:
    """A handler at work, one step at a time."""

    def __init__(self, body: Callable[[], object]) -> None:
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        self.is_over = self.is_killed = self.has_crashed = False
        self._body = body
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def step(self) -> None:
        self._go.release()
        self._paused.acquire()

    def kill(self) -> None:
        self.is_killed = True
        while not self.is_over:
            self.step()

    def pause(self) -> None:
        self._paused.release()
        self._go.acquire()
        if self.is_killed:
            raise Crash

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.is_killed:
                self._body()
        except Crash:
            self.has_crashed = True
        finally:
            self.is_over = True
            self._paused.release()


class Process:
    """One life of a process with workers."""

    def __init__(self, world: World, owner: str) -> None:
        self.owner = owner
        self.holds = Holds(world.tasks, owner, SETTINGS.lease_s, world.clock)
        self.runs: list[RunThread] = []


class World:
    """Everything there is.

    Args:
        engine: A database without tasks.
        seed: Makes the history.
    """

    def __init__(self, engine: Engine, seed: int) -> None:
        self.random = Random(seed)
        self.engine = engine
        self.clock = Clock()
        self.tasks = TaskTable(engine, clock=self.clock, on_end=self._on_end)
        self.history: list[str] = []
        self.crashes = self.outcomes_refused = 0
        self._are_crashes_allowed = False
        self._lives = self._effect_number = 0
        self._processes = [self._new_process() for _ in range(PROCESSES)]
        self._zombies: list[RunThread] = []
        self._current: RunThread | None = None
        self._confirmed: set[str] = set()
        self._before: dict[str, dict[str, Any]] = {}
        self._has_changed = True
        _metadata.create_all(engine)

    @contextmanager
    def crashing(self) -> Iterator[None]:
        """Has any commit be the last thing that a process does, or the first that it does not."""
        dialect: Any = self.engine.dialect
        commit = dialect.do_commit

        def do_commit(connection: Any) -> None:
            chance = self.random.randrange(1000) if self._are_crashes_allowed else 1000
            if chance < CRASHES_OF_1000_COMMITS / 2:
                self._crash("before a commit")
            self._has_changed = True
            commit(connection)
            if CRASHES_OF_1000_COMMITS / 2 <= chance < CRASHES_OF_1000_COMMITS:
                self._crash("after a commit")

        dialect.do_commit = do_commit
        try:
            yield
        finally:
            dialect.do_commit = commit
            for run in [*self._zombies, *(run for process in self._processes for run in process.runs)]:
                run.kill()

    def live(self, steps: int) -> None:
        """Takes steps, and looks after each whether the world is as it must be."""
        self._are_crashes_allowed = True
        for _ in range(steps):
            action = self.random.choices(
                [self._enqueue, self._cancel, self._claim, self._step, self._renew, self._end_lost, self._drain, self._kill, self._wait],
                [8, 2, 18, 40, 6, 4, 1, 1, 14],
            )[0]
            action()
            self.check()
        self._are_crashes_allowed = False

    def settle(self, rounds: int = 300) -> None:
        """Goes on without crashes until every task has ended."""
        for _ in range(rounds):
            if all(TaskState(row["state"]).is_terminal for row in self._before.values()):
                return
            for process in self._processes:
                process.holds.renew()
                self.tasks.end_lost(["work"])
                self._claim_for(process)
                for run in list(process.runs):
                    self._let_run(run, process)
            self.clock.advance(3)
            self.check()
        raise AssertionError("some tasks never end")

    def check(self) -> None:
        """Compares what there is with what was, and with what must be, unless nothing was committed since."""
        if not self._has_changed:
            return
        self._has_changed = False
        with self.engine.connect() as connection:
            now = {row["task_id"]: dict(row) for row in connection.execute(select(task_rows)).mappings()}
            noted = {row.id: row for row in connection.execute(select(records))}
            done = [(row.id, row.fence) for row in connection.execute(select(effects))]
        assert now.keys() == noted.keys(), "a record without a task, or the other way round"
        assert now.keys() >= self._confirmed | self._before.keys(), "a task is lost"
        expected_effects = []
        for task_id, task in now.items():
            before, is_over = self._before.get(task_id), TaskState(task["state"]).is_terminal
            if before is not None:
                assert task["fence"] >= before["fence"], "the fence went back"
                assert task == before or not TaskState(before["state"]).is_terminal, "a final state has changed"
                assert task["owner"] in (before["owner"], None) or task["fence"] > before["fence"], "a claim without a new fence"
                # Whoever wrote it was the one who had the task.
                assert task["progress"] in (before["progress"], None) or task["progress"]["fence"] == before["fence"]
            if is_over and (task["result"] or (task["error_reason"] in ("NOT_FOUND", "UNAVAILABLE"))):
                wrote = task["result"]["fence"] if task["result"] else int(task["error_message"])
                assert wrote == task["fence"], "the outcome is of one who had lost the lease"
            assert 0 <= task["attempt"] <= task["max_attempts"], "too many attempts"
            assert noted[task_id].ended == int(is_over), "a task has no outcome or two"
            assert noted[task_id].state == (task["state"] if is_over else ""), "record and task disagree"
            assert (task["end_time"] is not None) == is_over
            assert (task["owner"] is None, task["lease_end"] is None) == ((task["state"] != "RUNNING",) * 2)
            if (task["result"] or {}).get("by_effect"):
                expected_effects.append((task_id, task["fence"]))
        assert sorted(done) == sorted(expected_effects), "an effect without its outcome, or twice"
        self._before = now

    def states(self) -> dict[str, int]:
        """How many tasks are in each state."""
        states = [row["state"] for row in self._before.values()]
        return {state: states.count(state) for state in sorted(set(states))}

    def _on_end(self, connection: Connection, task: Task) -> None:
        ended = {"ended": records.c.ended + 1, "state": task.state.value}
        connection.execute(update(records).where(records.c.id == task.task_id).values(ended))

    def _enqueue(self) -> None:
        # Now and then one that was enqueued before, as by a caller who got no answer.
        is_repeated = bool(self._before) and self.random.random() < 0.2
        task_id = self.random.choice(sorted(self._before)) if is_repeated else f"task-{len(self._before)}"
        new = NewTask(task_id=task_id, kind="work", payload={}, priority=self.random.randrange(3), max_attempts=self.random.randrange(1, 5))

        def apply(connection: Connection) -> None:
            if self.tasks.enqueue(connection, new):
                connection.execute(insert(records).values(id=task_id, ended=0, state=""))

        try:
            write(self.engine, apply)
            self._confirmed.add(task_id)
        except Crash:
            pass

    def _cancel(self) -> None:
        if self._confirmed:
            task_id = self.random.choice(sorted(self._confirmed))
            try:
                self._note("cancel", task_id)
                self.tasks.cancel(task_id)
            except Crash:
                pass

    def _claim(self) -> None:
        process = self.random.choice(self._processes)
        self._alive(process, lambda: self._claim_for(process))

    def _claim_for(self, process: Process) -> None:
        free = 3 - len(process.runs)
        if free > 0:
            for lease in self.tasks.claim(process.owner, ["work"], lease_s=SETTINGS.lease_s, limit=free):
                self._note("claim", f"{process.owner} {lease.key}")
                process.runs.append(self._begin(process, lease))

    def _begin(self, process: Process, lease: Lease) -> RunThread:
        hold = process.holds.add(lease)

        def body() -> None:
            ending = perform(Work(self._handle, retried=(RuntimeError,)), Run(self.tasks, hold))
            if ending is not None:
                self._pause()
                with self._losing():
                    write_ending(self.tasks, lease, ending, SETTINGS, self.random.random)
            process.holds.remove(hold)

        return RunThread(body)

    def _handle(self, run: Run) -> Result:
        is_stubborn = self.random.random() < 0.5
        fence = run._hold.lease.fence
        for step in range(self.random.randrange(5)):
            self._pause()
            if self.random.random() < 0.5:
                run.progress({"step": step, "fence": fence})
            elif not is_stubborn:
                run.check()
        self._pause()
        way = self.random.choice(["effect", "effect", "effect", "plain", "refused", "retry", "bug", "bug that is retried"])
        self._note(way, run.task_id)
        if way == "effect":
            with self._losing():
                return write(self.engine, lambda connection: self._have_effect(connection, run))
            raise LeaseLost
        if way == "refused":
            raise NotFound(str(fence))
        if way == "retry":
            raise Retry(Unavailable(str(fence)))
        if way == "bug":
            raise ValueError("a bug")
        if way == "bug that is retried":
            raise RuntimeError("a bug")
        return Result({"by_effect": False, "fence": fence})

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except LeaseLost:
            self.outcomes_refused += 1

    def _have_effect(self, connection: Connection, run: Run) -> Result:
        self._effect_number += 1
        fence = run._hold.lease.fence
        connection.execute(insert(effects).values(number=self._effect_number, id=run.task_id, fence=fence))
        return run.succeed(connection, {"by_effect": True, "fence": fence})

    def _step(self) -> None:
        running: list[tuple[RunThread, Process | None]] = [(run, process) for process in self._processes for run in process.runs]
        running += [(zombie, None) for zombie in self._zombies]
        if running:
            self._let_run(*self.random.choice(running))

    def _let_run(self, run: RunThread, process: Process | None) -> None:
        self._current = run
        run.step()
        self._current = None
        if run.is_over and process is None:
            self._zombies.remove(run)
        elif run.is_over and process is not None:
            process.runs.remove(run)
            if run.has_crashed:
                self._replace(process)

    def _pause(self) -> None:
        assert self._current is not None
        self._current.pause()

    def _renew(self) -> None:
        process = self.random.choice(self._processes)
        self._alive(process, process.holds.renew)

    def _end_lost(self) -> None:
        # What cannot be ended is logged, and must not end the process; a crash of course does.
        process = self.random.choice(self._processes)
        self._alive(process, lambda: self.tasks.end_lost(["work"]))

    def _drain(self) -> None:
        """A stop whose handlers do not end in time: what they do after it must not count."""
        process = self.random.choice(self._processes)
        self._note("drain", process.owner)
        if self._alive(process, process.holds.give_back):
            self._zombies += process.runs
            self._processes[self._processes.index(process)] = self._new_process()

    def _kill(self) -> None:
        process = self.random.choice(self._processes)
        self._note("kill", process.owner)
        self._replace(process)

    def _wait(self) -> None:
        self.clock.advance(self.random.uniform(0, SETTINGS.lease_s * 0.5))

    def _alive(self, process: Process, act: Callable[[], object]) -> bool:
        try:
            act()
        except Crash:
            self._replace(process)
            return False
        return True

    def _replace(self, process: Process) -> None:
        self.crashes += 1
        for run in process.runs:
            run.kill()
        self._processes[self._processes.index(process)] = self._new_process()

    def _new_process(self) -> Process:
        self._lives += 1
        return Process(self, f"life-{self._lives}")

    def _crash(self, where: str) -> None:
        self._note("crash", where)
        raise Crash

    def _note(self, what: str, about: str) -> None:
        self.history.append(f"{what} {about}")


__all__ = ["World", "effects", "records"]
