from __future__ import annotations

import threading
from typing import Any, cast

import pytest
from mlops.common.v1.options_pb2 import ACCESS_PERMISSION, IDEMPOTENCY_IDEMPOTENT, RATE_CLASS_PREDICT, MethodPolicy

from servers.runtime.calls import Call, Method, enter_call
from servers.runtime.principals import Principal

PREDICT = MethodPolicy(
    access=ACCESS_PERMISSION, permission="serving.models.predict", idempotency=IDEMPOTENCY_IDEMPOTENT, rate_class=RATE_CLASS_PREDICT
)


@pytest.fixture(autouse=True, scope="session")
def call() -> Call:
    """The call in which everything here happens: that of a caller who may predict in `default` and in `fares`."""
    method = Method("/inference.GRPCInferenceService/ModelInfer", PREDICT, None, None, False, False)
    call = Call(method, cast(Any, None), lambda _name: None, threading.Event())
    granted = frozenset({"serving.models.predict"})
    call.principal = Principal(subject="ada", display_name="Ada", kind="user", grants={"default": granted, "fares": granted})
    enter_call(call)
    return call
