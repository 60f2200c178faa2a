"""What becomes of attempts, and which are taken again."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest
from mlops.common.v1 import job_pb2
from mlops.processing.v1.processing_job_pb2 import ProcessingJob

from servers.features.jobs.computations import Computations, request_id_of
from servers.features.jobs.errors import ComputationCancelled, ComputationFailed, FeatureJobTimedOut
from servers.features.jobs.working import may_pass
from servers.features.peers.processing_peer import ProcessingPeer
from servers.runtime.data_process.errors import DataProcessDied, DataProcessOutOfMemory, OperationFailed
from servers.runtime.errors import DomainError, InvalidArgument, Unavailable
from servers.runtime.work import Cancelled


class Peer:
    """Has one job, which takes some looks."""

    def __init__(self, *states: str) -> None:
        self._states = iter(states)
        self.cancelled: list[str] = []

    def cancel(self, project: str, job_id: str) -> None:
        self.cancelled.append(job_id)

    def job(self, project: str, job_id: str, check: object) -> ProcessingJob:
        state: Any = job_pb2.JobState.Value(f"JOB_STATE_{next(self._states)}")
        job = ProcessingJob(id=job_id, state=state)
        job.error.code, job.error.message = 14, "it is gone"
        return job


def waited(*states: str) -> list[float]:
    pauses: list[float] = []
    computations = Computations(cast("ProcessingPeer", Peer(*states)), lambda pause_s, _check: pauses.append(pause_s))
    computations.succeeded("default", "job", lambda: None)
    return pauses


def test_a_job_is_looked_at_less_and_less_often() -> None:
    pauses = waited(*["RUNNING"] * 20, "SUCCEEDED")

    assert pauses[0] == 0.1
    assert all(one <= other for one, other in itertools.pairwise(pauses))
    assert pauses[-1] == 5.0


def test_a_job_that_failed_is_not_looked_at_again_whatever_its_reason() -> None:
    with pytest.raises(ComputationFailed, match="it is gone") as failed:
        waited("FAILED")
    with pytest.raises(ComputationCancelled) as cancelled:
        waited("CANCELLED")

    assert not may_pass(failed.value)
    assert not may_pass(cancelled.value)


@pytest.mark.parametrize("error", [Cancelled("x"), FeatureJobTimedOut(1)])
def test_a_job_that_is_begun_when_nobody_wants_it_any_more_is_cancelled(error: Exception) -> None:
    peer, asked = Peer(), list[object]()

    def begin(check: object) -> ProcessingJob:
        asked.append(check)
        if check is not None:
            raise error
        return ProcessingJob(id="job")

    with pytest.raises(type(error)):
        Computations(cast("ProcessingPeer", peer)).begun("default", begin, lambda: None)

    assert (len(asked), peer.cancelled) == (2, ["job"])


def test_what_may_pass_is_taken_again() -> None:
    passing: list[DomainError] = [Unavailable("away"), DataProcessDied("was killed"), DataProcessOutOfMemory("was killed", "X")]

    assert all(map(may_pass, passing))
    assert not may_pass(InvalidArgument("wrong"))
    assert not may_pass(OperationFailed("NOT_FOUND", "DATASET_NOT_FOUND", "gone"))


def test_attempts_at_one_task_ask_with_the_same_id() -> None:
    assert request_id_of("task", "job") == request_id_of("task", "job")
    assert len({request_id_of("task", "job"), request_id_of("task", "run"), request_id_of("other", "job")}) == 3
