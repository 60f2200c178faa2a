"""The work of one attempt at a materialisation: computing, comparing, writing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from mlops.processing.v1 import processing_job_pb2 as job_pb
from sqlalchemy import Connection, Engine

from servers.features.data_process import FeatureProcesses
from servers.features.definitions.records import OnlineState, ViewVersion
from servers.features.errors import ViewVersionGone
from servers.features.jobs.computations import Computations, request_id_of
from servers.features.jobs.deciding import Decision, Difference, decided
from servers.features.jobs.records import Failure, Materialization, MaterializationProgress, MaterializeMode
from servers.features.jobs.working import Succeed
from servers.features.peers.ingestion_peer import IngestionPeer, PinnedDataset
from servers.features.peers.processing_peer import ProcessingPeer
from servers.features.store.definitions import Definitions
from servers.features.store.materializations import Materializations, OldGenerations
from servers.features.store.online_states import OnlineStates
from servers.runtime.errors import DomainError
from servers.runtime.peer_calls import Check
from servers.runtime.work import Run
from sql_engine import write

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_OLD_READERS = timedelta(minutes=1)
"""For so long readers in other processes may know of the generation before."""
_TOLD_EVERY_S = 1.0
_PIPELINE_RUNNING = "PIPELINE_RUNNING"


@dataclass(frozen=True)
class MaterializeTools:
    """What materialisations work with.

    Args:
        engine: The component's database.
        definitions: Versions of views.
        materializations: What is known of materialisations.
        online_states: How the online store stands.
        old_generations: Vectors that nobody reads any more.
        ingestion: Has the datasets.
        processing: Computes views.
        computations: Waits for that.
        processes: Read rows and write them.
        clock: The time now.
        max_future: By how much an event time may be in the future.
    """

    engine: Engine
    definitions: Definitions
    materializations: Materializations
    online_states: OnlineStates
    old_generations: OldGenerations
    ingestion: IngestionPeer
    processing: ProcessingPeer
    computations: Computations
    processes: FeatureProcesses
    clock: Callable[[], datetime]
    max_future: timedelta


class MaterializationAttempts:
    """Attempts at materialisations.

    What one has found out is kept with the materialisation, and vectors are written so that writing them again changes nothing: an attempt
    that follows one that was killed goes on, or does the same again.

    Args:
        tools: What they work with.
    """

    def __init__(self, tools: MaterializeTools) -> None:
        self._tools = tools

    def perform(self, run: Run, check: Check) -> Succeed:
        """See `Attempt`."""
        tools, work = self._tools, self._tools.materializations.work_of(run.task_id)
        view = tools.definitions.view_version_by_id(work.view_version_id)
        if view.pipeline:
            self._compute(run, work, view, check)
        dataset = self._pinned(run, work, view, check)
        if dataset is None or view.spec.offline_only:
            # Nobody has pushed yet, or nothing is kept online.
            return lambda connection: tools.materializations.record(connection, work.id, effective_mode=work.mode.value, progress={})
        state = tools.online_states.get(view.id)
        self._condemn_building(view, state, run.hold)
        difference = self._difference(state, work.mode, dataset, check)
        decision = decided(state, work.mode, dataset.version, difference)
        self._record(run, effective_mode=decision.effective_mode.value)
        return self._written(_Writing(run, work, view, dataset, state, difference, decision), check)

    def give_up(self, job_id: str) -> None:
        """See `Attempt`."""
        tools, work = self._tools, self._tools.materializations.work_of(job_id)
        if work.processing_job_id:
            tools.computations.cancel(work.project, work.processing_job_id)
        try:
            view = tools.definitions.view_version_by_id(work.view_version_id)
        except ViewVersionGone:
            return
        self._condemn_building(view, tools.online_states.get(view.id), lambda _connection: None)

    def record_failure(self, connection: Connection, job_id: str, failure: Failure) -> None:
        """See `Attempt`."""
        self._tools.materializations.record_failure(connection, job_id, failure)

    def _compute(self, run: Run, work: Materialization, view: ViewVersion, check: Check) -> None:
        """Brings the dataset of a view up to date."""
        job_id = work.processing_job_id or self._begun(work, view, check)
        if not work.processing_job_id:
            self._record(run, processing_job_id=job_id)
        self._tools.computations.succeeded(work.project, job_id, check)

    def _begun(self, work: Materialization, view: ViewVersion, check: Check) -> str:
        mode = job_pb.RUN_MODE_FULL if work.mode is MaterializeMode.FULL else job_pb.RUN_MODE_INCREMENTAL
        begin = partial(self._tools.processing.run_pipeline, view.project, view.pipeline, mode, request_id_of(work.id, "run"))
        while True:
            try:
                return self._tools.computations.begun(view.project, begin, check)
            except DomainError as error:
                if error.reason != _PIPELINE_RUNNING:
                    raise
                # Somebody else runs it, perhaps over older versions of its inputs.
                self._tools.computations.ended(view.project, error.metadata["job_id"], check)

    def _pinned(self, run: Run, work: Materialization, view: ViewVersion, check: Check) -> PinnedDataset | None:
        """The version that all attempts read, but for those that build a generation; None where no push has made the dataset yet."""
        if work.dataset_version is not None and work.dataset_time is not None:
            known = self._tools.ingestion.dataset(view.project, view.dataset, work.dataset_version, check)
            return replace(known, update_time=work.dataset_time)
        if view.spec.HasField("push"):
            found = self._tools.ingestion.dataset_or_none(view.project, view.dataset, check)
        else:
            found = self._tools.ingestion.dataset(view.project, view.dataset, None, check)
        if found is not None:
            self._record(run, dataset_version=found.version, dataset_time=found.update_time)
        return found

    def _difference(self, state: OnlineState, mode: MaterializeMode, dataset: PinnedDataset, check: Check) -> Difference:
        arguments = {
            "uri": dataset.uri,
            "version": dataset.version,
            "old_version": None if mode is MaterializeMode.FULL else state.dataset_version,
            "table_id": state.table_id,
        }
        return Difference(**self._tools.processes.run("compare", arguments, check=check))

    def _written(self, writing: _Writing, check: Check) -> Succeed:
        """Writes the rows, and returns what is kept with that."""
        tools, view, state, decision = self._tools, writing.view, writing.state, writing.decision
        if decision.is_nothing and state.dataset_version == writing.dataset.version:
            return lambda connection: tools.materializations.record(connection, writing.work.id, progress={})
        generation = None
        if decision.builds_generation:
            generation = self._begin_building(writing)
            writing = self._with_all_pushes(writing, check)
        counts: Mapping[str, Any] = {}
        if not decision.is_nothing:
            name = view.online_name(state.generation if generation is None else generation)
            counts = tools.processes.run(
                "materialize",
                writing.arguments(name, tools.clock() + tools.max_future),
                check=check,
                on_progress=_Teller(writing.run).tell,
            )
        progress, newest_us = MaterializationProgress.of(counts), counts.get("newest_event_time_us")

        def keep(connection: Connection) -> None:
            now = tools.clock()
            tools.materializations.record(connection, writing.work.id, progress=asdict(progress))
            tools.online_states.end_materialization(
                connection,
                view.id,
                generation=generation,
                dataset_version=writing.dataset.version,
                table_id=writing.difference.table_id,
                has_skipped_rows=progress.future > 0,
                newest_event_time=None if newest_us is None else _EPOCH + timedelta(microseconds=newest_us),
                rows=progress.written,
                now=now,
            )
            if generation is not None:
                tools.old_generations.add(connection, view.id, view.online_name(state.generation), now, _OLD_READERS)

        return keep

    def _with_all_pushes(self, writing: _Writing, check: Check) -> _Writing:
        """Reads the dataset as it is now: a generation has a push that was answered before it was begun only from there."""
        tools, view = self._tools, writing.view
        if view.pipeline:
            # Nobody can push into what is computed.
            return writing
        tools.ingestion.wait_for_files(view.project, view.dataset, check)
        dataset = tools.ingestion.dataset(view.project, view.dataset, None, check)
        if dataset.version == writing.dataset.version:
            return writing
        self._record(writing.run, dataset_version=dataset.version, dataset_time=dataset.update_time)
        difference = self._difference(writing.state, MaterializeMode.FULL, dataset, check)
        return replace(writing, dataset=dataset, difference=difference)

    def _begin_building(self, writing: _Writing) -> int:
        def begin(connection: Connection) -> int:
            writing.run.hold(connection)
            return self._tools.online_states.begin_building(connection, writing.view.id)

        return write(self._tools.engine, begin)

    def _condemn_building(self, view: ViewVersion, state: OnlineState, hold: Callable[[Connection], None]) -> None:
        """Has a generation dropped that an attempt began and did not finish. Nobody has read it, and pushes no longer go there.

        Args:
            view: Whose generation it is.
            state: How the view stands.
            hold: Called first in the transaction; raises where it is not to be.
        """
        tools, generation = self._tools, state.building
        if generation is None:
            return

        def condemn(connection: Connection) -> None:
            hold(connection)
            tools.online_states.stop_building(connection, view.id, generation)
            tools.old_generations.add(connection, view.id, view.online_name(generation), tools.clock(), _OLD_READERS)

        write(tools.engine, condemn)

    def _record(self, run: Run, **values: Any) -> None:
        def record(connection: Connection) -> None:
            run.hold(connection)
            self._tools.materializations.record(connection, run.task_id, **values)

        write(self._tools.engine, record)


@dataclass(frozen=True)
class _Writing:
    """Everything that is known before rows are written."""

    run: Run
    work: Materialization
    view: ViewVersion
    dataset: PinnedDataset
    state: OnlineState
    difference: Difference
    decision: Decision

    def arguments(self, online_name: str, latest: datetime) -> dict[str, Any]:
        """What the process needs to know, as `online_rows.ViewColumns` reads it."""
        spec, features = self.view.spec, self.view.spec.features
        return {
            "uri": self.dataset.uri,
            "version": self.dataset.version,
            "old_version": self.state.dataset_version if self.decision.effective_mode is MaterializeMode.INCREMENTAL else None,
            "table_id": self.state.table_id,
            "online_name": online_name,
            "keys": [[key.join_key.name, key.join_key.type.value, key.column] for key in self.view.keys],
            "features": [[feature.name, feature.type, feature.column] for feature in features],
            "event_time": spec.event_time_column,
            "write_time": spec.write_time_column,
            "default_write_time_us": _microseconds(self.dataset.update_time),
            "latest_us": _microseconds(latest),
        }


class _Teller:
    """Tells how far a materialisation is, not more often than anybody looks."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._next = time.monotonic()

    def tell(self, counts: Mapping[str, Any]) -> None:
        """Tells of rows."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + _TOLD_EVERY_S
            self._run.progress(dict(counts))


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
