"""Refuses calls that are too many, or come after the server has stopped taking them."""

from __future__ import annotations

from typing import Any

from servers.runtime.admission import Admission
from servers.runtime.calls import Behaviour, Call, Method


class AdmissionInterceptor:
    """Lets calls in.

    Args:
        admission: Counts them.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def wrap(self, method: Method, inner: Behaviour) -> Behaviour:
        """Gives a behaviour that is not run where the server takes no more calls."""
        del method

        def admitted(request: Any, call: Call) -> Any:
            self._admission.enter(call.context)
            return inner(request, call)

        return admitted
