"""Jobs of the processing server that a job here waits for."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from contextlib import suppress

from mlops.common.v1 import job_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb

from servers.features.jobs.errors import ComputationCancelled, ComputationFailed, FeatureJobTimedOut
from servers.features.peers.processing_peer import ProcessingPeer
from servers.runtime.errors import DomainError
from servers.runtime.peer_calls import Check, error_of_status, wait
from servers.runtime.work import Cancelled

_LOGGER = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_ENDED = frozenset({job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED})
# Names of ours within UUIDs that are made of names (RFC 9562, 5.5).
_NAMESPACE = uuid.UUID("6b0c7c0e-0d3f-4d53-9a0e-3c2c8d7be6f4")


def request_id_of(task_id: str, what: str) -> str:
    """Returns the request id by which a task asks for something: the same in each of its attempts."""
    return str(uuid.uuid5(_NAMESPACE, f"{task_id}/{what}"))


class Computations:
    """Jobs of the processing server.

    Args:
        peer: Has them.
        pause: Waits for some seconds, unless a check raises.
    """

    def __init__(self, peer: ProcessingPeer, pause: Callable[[float, Check], None] = wait) -> None:
        self._peer = peer
        self._pause = pause

    def begun(self, project: str, begin: Callable[[Check | None], job_pb.ProcessingJob], check: Check) -> str:
        """Has a job begun, and returns its id. One that is begun while a check raises is cancelled: the call goes on without its caller.

        Args:
            project: Where.
            begin: Asks the server; each time it is called, for the same job.
            check: Raises where nobody wants the job any more.
        """
        try:
            return begin(check).id
        except (Cancelled, FeatureJobTimedOut):
            with suppress(DomainError):
                self.cancel(project, begin(None).id)
            raise

    def ended(self, project: str, job_id: str, check: Check) -> job_pb.ProcessingJob:
        """Waits for a job and returns it as it ended."""
        pause_s = _FIRST_PAUSE_S
        while True:
            job = self._peer.job(project, job_id, check)
            if job.state in _ENDED:
                return job
            self._pause(pause_s, check)
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)

    def succeeded(self, project: str, job_id: str, check: Check) -> job_pb.ProcessingJob:
        """The same for a job whose end has to be a good one.

        Raises:
            ComputationFailed: It failed; with its reason.
            ComputationCancelled: FAILED_PRECONDITION: somebody cancelled it.
        """
        job = self.ended(project, job_id, check)
        if job.state == job_pb2.JOB_STATE_FAILED:
            raise ComputationFailed.of(error_of_status(job.error), job_id)
        if job.state == job_pb2.JOB_STATE_CANCELLED:
            raise ComputationCancelled(job_id)
        return job

    def cancel(self, project: str, job_id: str) -> None:
        """Has a job stopped, as far as the server can be reached."""
        try:
            self._peer.cancel(project, job_id)
        except DomainError as error:
            _LOGGER.warning("the processing job %s goes on, though nobody wants it any more: %s", job_id, error.message)
