"""A model in a process of its own, for as long as it is loaded: started, run, started again when it crashes, given up when it keeps on.

Everything here is called on one event loop. Runs wait in a line and one is in the process at a time, so it is known which run a crash
belongs to. A run has no effect but its answer, so one that a crash took is run again, at the head of the line.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from servers.runtime.errors import DomainError
from servers.serving.errors import ModelLoadFailed, ModelRunRefused, PredictionTooLarge
from servers.serving.model_process.child import PROGRAM, Child
from servers.serving.model_process.child_exit import ChildExit
from servers.serving.model_process.crash_history import CrashHistory
from servers.serving.model_process.errors import ModelCrashed, ModelNotRunning, ModelRunAborted
from servers.serving.model_process.frames import MalformedFrame, Part, PayloadTooLarge
from servers.serving.model_process.limits import ProcessLimits
from servers.serving.model_process.messages import LOAD, Answer, Load, Message, Ready, Refusal, Run, message_parts
from servers.serving.model_process.packed_tensors import NamedTensor
from servers.serving.signature import Signature
from servers.serving.tensors import Feeds

_LOGGER = logging.getLogger(__name__)

ModelFile = Callable[[], AbstractAsyncContextManager[Path]]
"""Lays out the checked ONNX file for the time of a load. Called for each start, so that what runs is verified each time."""

Arrays = list["np.ndarray[Any, Any]"]

_RUN_ERRORS: dict[str, type[DomainError]] = {error.reason: error for error in (ModelRunRefused, PredictionTooLarge)}
"""What a process may answer a run with. Anything else would be an error of ours that a model chose."""


class Phase(Enum):
    """Where a model's process is in its life."""

    LOADING = "LOADING"
    READY = "READY"
    RESTARTING = "RESTARTING"
    ENDED = "ENDED"


class _Call:
    """A run that somebody waits for."""

    __slots__ = ("answer", "attempts", "most_attempts", "number", "outputs", "parts")

    def __init__(
        self, number: int, parts: list[Part], outputs: tuple[int, ...], most_attempts: int, answer: asyncio.Future[Arrays]
    ) -> None:
        self.number = number
        self.parts = parts
        self.outputs = outputs
        self.most_attempts = most_attempts
        self.answer = answer
        self.attempts = 0


class ModelProcess:
    """One loaded model.

    Args:
        name: The model as errors and the log name it.
        model_file: Lays out its file.
        limits: What it may take, and how patient to be.
        intra_op_threads: Threads that share one operator.
        on_ended: Told why, when the model is given up after it was loaded. It may be loaded again where the error is no `ModelLoadFailed`.
        command: Program and arguments of the process.
        pause: Waits for so many seconds before a restart.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        model_file: ModelFile,
        limits: ProcessLimits | None = None,
        *,
        intra_op_threads: int = 1,
        on_ended: Callable[[DomainError], None] = lambda _: None,
        command: Sequence[str] = PROGRAM,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._model_file = model_file
        self._limits = limits or ProcessLimits()
        self._intra_op_threads = intra_op_threads
        self._on_ended = on_ended
        self._command = command
        self._pause = pause
        self._clock = clock
        self._history = CrashHistory(self._limits)
        self._phase = Phase.LOADING
        self._failure: DomainError | None = None
        self._signature: Signature | None = None
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._loaded: asyncio.Future[Ready | Refusal] | None = None
        self._waiting: deque[_Call] = deque()
        self._running: _Call | None = None
        self._calls = 0
        self._overdue: asyncio.TimerHandle | None = None
        self._is_overdue = False
        self._run_timer: asyncio.TimerHandle | None = None
        self.restarts = 0
        """Starts after the first one that succeeded."""
        self.last_exit: ChildExit | None = None
        """How the process last ended by itself."""

    @property
    def phase(self) -> Phase:
        """Where it is in its life."""
        return self._phase

    @property
    def pid(self) -> int | None:
        """Process id; None while there is no process."""
        return self._child.pid if self._child is not None else None

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; known once `start` has returned."""
        assert self._signature is not None, "the model was not loaded"  # noqa: S101
        return self._signature

    async def start(self) -> None:
        """Starts the process and returns when the model is loaded and warmed. Called once.

        Raises:
            ModelCrashed: If the process died of it.
            ModelLoadFailed: If ONNX Runtime refuses the file, or takes too long.
            ModelNotRunning: If `close` was called meanwhile.
            servers.runtime.errors.DomainError: What `model_file` raises.
        """
        if self._phase is not Phase.LOADING or self._task is not None:
            raise RuntimeError("a model process is started once")
        self._task = asyncio.create_task(self._load())
        try:
            await self._task
        except asyncio.CancelledError:
            await self.close()
            if _is_cancelled():
                raise
            raise self._not_running("is being unloaded") from None
        except DomainError as error:
            self._end(error)
            raise
        except BaseException:
            await self.close()
            raise
        if self.phase is Phase.ENDED:  # closed in the moment in which it was loaded
            raise self._not_running("is being unloaded")
        self._became_ready()
        self._task = asyncio.create_task(self._keep_running())

    async def run(self, feeds: Feeds, outputs: Sequence[int] = (), *, is_shared: bool = False) -> Arrays:
        """Runs the model.

        When the caller is cancelled, a run that waits is dropped, and one that is under way ends after the operator that it is at.

        Args:
            feeds: One array an input, checked against the signature. They must not change until this returns.
            outputs: Positions of the outputs wanted; empty means all.
            is_shared: Whether the inputs are those of several callers. A crash is then answered at once, so that each of theirs can be run
                alone: the one that the process dies of takes no other with it, and the model is not given up because of it.

        Returns:
            The outputs in the order of `outputs`, kept as `signature.ElementType` says. They share one piece of memory.

        Raises:
            ModelRunRefused: If the model cannot be run on these inputs.
            PredictionTooLarge: If inputs or outputs are larger than a run may have, or memory does not suffice.
            ModelRunAborted: If the process dies of these inputs, or takes too long.
            ModelNotRunning: If the process is not back in time after a crash, or the model is being unloaded. Nothing was answered: repeat.
            ModelCrashed: If the model has crashed too often.
        """
        if self._phase is Phase.ENDED:
            raise self._why_ended()
        if self._is_overdue:
            raise self._not_running("crashed and is being started again")
        self._calls += 1
        signature = self.signature
        inputs = [NamedTensor(spec.name, spec.datatype, feeds[spec.name]) for spec in signature.inputs if spec.name in feeds]
        wanted = tuple(outputs) or tuple(range(len(signature.outputs)))
        try:
            parts = message_parts(Run(self._calls, inputs, wanted), max_payload_bytes=self._limits.max_payload_bytes)
        except PayloadTooLarge as error:
            limit = f"{self._limits.max_payload_bytes:,}"
            text = f"the inputs of the run have {error.size_bytes:,} bytes, and may have {limit}; send fewer rows a call"
            raise PredictionTooLarge(text) from None
        most_attempts = 1 if is_shared else self._limits.run_attempts
        call = _Call(self._calls, parts, wanted, most_attempts, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._run_next()
        try:
            return await call.answer
        except asyncio.CancelledError:
            if call is self._running and self._child is not None:
                self._child.interrupt(call.number)
            raise

    async def close(self) -> None:
        """Ends the process, and returns when it and its memory are gone. Runs that wait fail. May be called again, and while it loads."""
        if self._closing is None:
            self._end(self._not_running("is being unloaded"), is_told=False)
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._child is not None:
            await self._child.stop(self._limits.stop_grace_s)
            self._child = None

    async def _load(self) -> None:
        """Starts a process and loads the model into it. If that fails, or is cancelled, there is no process afterwards."""
        limits = self._limits
        async with self._model_file() as path:
            loaded: asyncio.Future[Ready | Refusal] = asyncio.get_running_loop().create_future()
            self._loaded = loaded
            try:
                child = await Child.start(self._command, max_payload_bytes=limits.max_payload_bytes, on_message=self._received)
            except OSError as error:
                raise self._not_running(f"cannot be started: {error.strerror or error}") from error
            self._child = child
            try:
                child.send(message_parts(Load(str(path), self._intra_op_threads, limits.memory_limit_bytes, limits.max_payload_bytes)))
                awaited: list[asyncio.Future[Any]] = [loaded, child.exited]
                await asyncio.wait(awaited, timeout=limits.load_timeout_s, return_when=asyncio.FIRST_COMPLETED)
                if not loaded.done():
                    child.kill(f"the model was not loaded within {limits.load_timeout_s:g} s")
                    exited = await asyncio.shield(child.exited)
                    self._note(exited)
                    raise ModelCrashed(f"the model's process {exited}" + ("" if exited.stop_reason else " while it was loaded"))
                answer = loaded.result()
                if isinstance(answer, Refusal):
                    raise ModelLoadFailed(answer.message)
                if self._signature not in (None, answer.signature):
                    raise ModelLoadFailed("the model has another signature than when it was loaded before")
            except BaseException:
                self._child = None
                await child.stop(limits.stop_grace_s)
                raise
        self._signature = answer.signature
        if answer.refusal:
            _LOGGER.info("%s does not run on zeros, so it is not warmed: %s", self._name, answer.refusal)

    async def _keep_running(self) -> None:
        """Watches the process, and starts it again, until the model is given up or closed."""
        while self._phase is Phase.READY:
            child = self._child
            assert child is not None  # noqa: S101  # there is one while READY
            exited = await asyncio.shield(child.exited)
            self._child = None
            self._note(exited)
            self._crashed(exited)
            await self._restart(ModelCrashed(f"the model's process {exited}"))

    async def _restart(self, failure: DomainError) -> None:
        while True:
            self._history.failed(self._clock())
            if self._history.is_exhausted:
                self._end(self._given_up(failure))
                return
            try:
                delay_s = self._history.restart_delay_s
                _LOGGER.warning("%s: %s; starting it again in %g s", self._name, failure.message, delay_s)
                if delay_s:
                    await self._pause(delay_s)
                await self._load()
            except DomainError as error:
                failure = error
            except OSError as error:
                failure = self._not_running(f"cannot be started: {error.strerror or error}")
            else:
                self.restarts += 1
                self._became_ready()
                return

    def _given_up(self, failure: DomainError) -> DomainError:
        """What callers are told from now on. What is not the model's fault, such as a registry that is away, is told as it is."""
        if not isinstance(failure, ModelCrashed):
            return failure
        return ModelCrashed(f"the model crashed or failed {self._history.failures} times, lastly because {failure.message}")

    def _became_ready(self) -> None:
        if self._phase is Phase.ENDED:  # closed in the moment in which it was loaded
            return
        self._phase = Phase.READY
        self._history.began_to_run(self._clock())
        self._is_overdue = False
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        self._run_next()

    def _crashed(self, exited: ChildExit) -> None:
        """Puts the run that was in the process back at the head of the line, or gives up on it."""
        self._phase = Phase.RESTARTING
        self._overdue = asyncio.get_running_loop().call_later(self._limits.restart_wait_s, self._wait_no_longer)
        call = self._taken_from_process()
        if call is None or call.answer.done():
            return
        if call.attempts < call.most_attempts and not exited.stop_reason:
            self._waiting.appendleft(call)
        elif exited.is_out_of_memory:
            text = "the inputs make the model need more memory than there is; send fewer rows a call"
            call.answer.set_exception(PredictionTooLarge(text))
        else:
            text = f"the model does not survive a run on these inputs: its process {exited}"
            call.answer.set_exception(ModelRunAborted(f"{text}, in attempt {call.attempts}"))

    def _wait_no_longer(self) -> None:
        """Fails those who wait for a process that takes long to be back, and whoever comes until it is."""
        self._is_overdue = True
        self._fail_waiting(lambda: self._not_running("crashed and is being started again"))

    def _run_next(self) -> None:
        if self._running is not None or self._phase is not Phase.READY or self._child is None:
            return
        while self._waiting:
            call = self._waiting.popleft()
            if call.answer.done():
                continue
            call.attempts += 1
            self._running = call
            self._run_timer = asyncio.get_running_loop().call_later(self._limits.run_timeout_s, self._run_takes_too_long)
            self._child.send(call.parts)
            return

    def _run_takes_too_long(self) -> None:
        if self._child is not None:
            self._child.kill(f"a run took longer than {self._limits.run_timeout_s:g} s")

    def _received(self, message: Message) -> None:
        """Takes a message of the process.

        Raises:
            MalformedFrame: If it is none that it may send now.
        """
        if isinstance(message, Ready | Refusal) and self._loaded is not None and not self._loaded.done():
            if isinstance(message, Refusal) and (message.call, message.reason) != (LOAD, ModelLoadFailed.reason):
                raise MalformedFrame(f"a load is not refused with reason `{message.reason[:100]}`")
            self._loaded.set_result(message)
            return
        call = self._running
        if call is None or not isinstance(message, Answer | Refusal) or message.call != call.number:
            raise MalformedFrame("an answer that nobody waits for")
        answer = self._arrays(message, call) if isinstance(message, Answer) else _run_error(message)
        self._taken_from_process()
        if not call.answer.done():
            if isinstance(answer, DomainError):
                call.answer.set_exception(answer)
            else:
                call.answer.set_result(answer)
        self._run_next()

    def _arrays(self, message: Answer, call: _Call) -> Arrays:
        specs = self.signature.outputs
        wanted = [(specs[index].name, specs[index].datatype) for index in call.outputs]
        if [(tensor.name, tensor.datatype) for tensor in message.outputs] != wanted:
            raise MalformedFrame("the outputs of a run are not those asked for")
        return [tensor.array for tensor in message.outputs]

    def _taken_from_process(self) -> _Call | None:
        call, self._running = self._running, None
        if self._run_timer is not None:
            self._run_timer.cancel()
            self._run_timer = None
        return call

    def _end(self, failure: DomainError, *, is_told: bool = True) -> None:
        """Ends the model's life; nothing is run any more."""
        if self._phase is Phase.ENDED:
            return
        was_loaded = self._signature is not None
        self._phase = Phase.ENDED
        self._failure = failure
        if self._overdue is not None:
            self._overdue.cancel()
        call = self._taken_from_process()
        if call is not None:
            self._waiting.appendleft(call)
        self._fail_waiting(self._why_ended)
        if is_told and was_loaded:
            _LOGGER.error("%s is given up: %s", self._name, failure.message)
            self._on_ended(failure)

    def _fail_waiting(self, error: Callable[[], DomainError]) -> None:
        while self._waiting:
            call = self._waiting.popleft()
            if not call.answer.done():
                call.answer.set_exception(error())

    def _why_ended(self) -> DomainError:
        """A fresh exception for each caller, since raising one puts a traceback into it."""
        failure = self._failure
        assert failure is not None  # noqa: S101  # set together with ENDED
        return type(failure)(
            failure.message,
            metadata=failure.metadata,
            field_violations=failure.field_violations,
            preconditions=failure.preconditions,
            resource=failure.resource,
            retry_after_s=failure.retry_after_s,
            reason=failure.reason,
        )

    def _not_running(self, what: str) -> ModelNotRunning:
        return ModelNotRunning(f"the process of {self._name} {what}; try again", retry_after_s=max(1.0, self._history.restart_delay_s))

    def _note(self, exited: ChildExit) -> None:
        self.last_exit = exited
        _LOGGER.error("%s: the model's process %s; it wrote lastly:\n%s", self._name, exited, exited.last_lines or "nothing")


def _run_error(refusal: Refusal) -> DomainError:
    error = _RUN_ERRORS.get(refusal.reason)
    if error is None:
        raise MalformedFrame(f"a run is not refused with reason `{refusal.reason[:100]}`")
    return error(refusal.message)


def _is_cancelled() -> bool:
    """Whether the current task itself is to end, and not only what it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
