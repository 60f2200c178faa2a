"""Answers a repeated `request_id` with the first answer, for methods whose contract says IDEMPOTENCY_REQUEST_ID."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from mlops.common.v1.options_pb2 import IDEMPOTENCY_REQUEST_ID

from servers.runtime.calls import Behaviour, Call, Method
from servers.runtime.effects import Effect, making, new_effect
from servers.runtime.errors import Aborted, InvalidArgument
from servers.runtime.registration import ContractError
from servers.runtime.replays import AlreadyClaimed, Replay, ReplayKey, ReplayState, ReplayStore

_FIELD = "request_id"
_LONGEST_WAIT_S = 10.0
_TIME_TO_ANSWER_S = 1.0
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.25


class IdempotencyInterceptor:
    """Keeps answers by caller, method and request id. Failures are not kept: a repeat may succeed.

    The effect of such a method begins with a transaction on the component's database: that is what makes it happen once.

    Args:
        store: Where answers are kept.
        sleep: Waits for some seconds.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(
        self, store: ReplayStore, sleep: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._sleep = sleep
        self._clock = clock

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour that runs once a request id. Streams keep their own account: their answers may be too large to keep."""
        response_class = method.response_class
        is_unary = not method.request_streaming and not method.response_streaming
        if method.policy.idempotency != IDEMPOTENCY_REQUEST_ID or not is_unary or response_class is None:
            return inner
        if method.request_class is None or _FIELD not in method.request_class.DESCRIPTOR.fields_by_name:
            raise ContractError(f"{method.path} says IDEMPOTENCY_REQUEST_ID, and its request has no field {_FIELD!r}")
        if method.is_coroutine:
            raise ContractError(f"{method.path} says IDEMPOTENCY_REQUEST_ID: its answers are kept by a thread, so it cannot be a coroutine")

        def once(request: Any, call: Call) -> Any:
            # Who only validates changes nothing, and wants to hear how it is now.
            if not request.request_id or getattr(request, "validate_only", False):
                return inner(request, call)
            key, request_hash = ReplayKey(call.principal.subject, method.path, request.request_id), _hash(request)
            effect = new_effect()
            while True:
                failure: Exception | None = None
                with self._store.claiming(key, request_hash, effect.id) as claim, making(effect):
                    try:
                        response = inner(request, call)
                    except Exception as error:
                        failure = error
                if claim.is_written:
                    if failure is not None:
                        self._store.abandon(key)
                        raise failure
                    self._store.complete(key, response.SerializeToString())
                    return response
                # Nothing was changed. That may be due to what the first one has done, for example because the name is taken now.
                earlier = self._earlier(key, request_hash, call)
                if earlier.state is ReplayState.DONE:
                    call.is_repeat = True
                    return response_class.FromString(earlier.response)
                if earlier.effect_id not in ("", effect.id):
                    # Whoever made it died before the answer was kept. Now that the id is known, the component finds it.
                    effect = Effect(earlier.effect_id, may_be_there=True)
                    continue
                if failure is None:
                    self._store.keep(key, request_hash, response.SerializeToString())
                    return response
                if not isinstance(failure, AlreadyClaimed):
                    raise failure

        return once

    def _earlier(self, key: ReplayKey, request_hash: str, call: Call) -> Replay:
        """What became of earlier attempts: DONE or FREE."""
        give_up_at = self._clock() + _patience_s(call.context.time_remaining())
        pause_s = _FIRST_PAUSE_S
        while True:
            found = self._store.find(key, request_hash)
            if found.state in (ReplayState.FREE, ReplayState.DONE):
                return found
            if found.state is ReplayState.OTHER_REQUEST:
                text = "this request_id was used within 24 hours for a request with another content; make a new id."
                raise InvalidArgument(f"request_id: {text}", field_violations=[(_FIELD, text)], reason="REQUEST_ID_REUSED")
            if self._clock() >= give_up_at or call.stopping.is_set():
                raise Aborted(
                    "The same request is still being served; repeat it later for its answer.", reason="REQUEST_RUNNING", retry_after_s=1
                )
            self._sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _patience_s(remaining_s: float | None) -> float:
    """How long to wait for the first answer: so that a refusal still reaches the caller before its deadline."""
    if remaining_s is None:
        return _LONGEST_WAIT_S
    return min(_LONGEST_WAIT_S, max(remaining_s / 2, remaining_s - _TIME_TO_ANSWER_S))


def _hash(request: Message) -> str:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
