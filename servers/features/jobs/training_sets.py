"""Training sets as their callers handle them: asked for, looked at, listed, cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from mlops.features.v1 import feature_job_service_pb2 as pb
from mlops.features.v1 import feature_view_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb
from sqlalchemy import Connection, Engine

from servers.features.definitions.records import ViewVersion, Wanted
from servers.features.definitions.resolving import KnowsVersions, resolved
from servers.features.jobs.computations import Computations
from servers.features.jobs.errors import TrainingSetNotFound, ViewHasNoRows
from servers.features.jobs.records import NewTrainingSet, TrainingSet, TrainingSetInput
from servers.features.jobs.spine_columns import checked_columns
from servers.features.jobs.training_plan import LEAKS_SUFFIX, planned
from servers.features.jobs.working import MAX_ATTEMPTS
from servers.features.offline.errors import InvalidTrainingSet
from servers.features.peers.ingestion_peer import IngestionPeer, PinnedDataset
from servers.features.peers.processing_peer import ProcessingPeer
from servers.features.rights import READ_DATA, WRITE_DATA, check_right
from servers.features.store.training_sets import TrainingSets
from servers.runtime.auth import Principal
from servers.runtime.effects import effect_id, made_before
from servers.runtime.paging import Listing
from servers.runtime.work import NewTask, TaskTable
from servers.runtime.work.job_state import JobState
from sql_engine import write

KIND = "training-set"
"""Kind of the tasks."""

# Servers that are lost are no fault of the job.
_LOST_SERVERS = 100
_PEER_CALLS = 8
_LONGEST_DATASET = 127
_SHOWN = 20


@dataclass(frozen=True)
class TrainingSetRequest:
    """A training set that somebody wants.

    Args:
        project: Where.
        spec: How it is made.
    """

    project: str
    spec: pb.TrainingSetSpec


class MakingTrainingSets:
    """Takes training sets.

    Args:
        engine: The component's database.
        tasks: Its tasks.
        definitions: Versions of views and services.
        training_sets: What is known of training sets.
        ingestion: Has the datasets.
        processing: Checks jobs.
        computations: Jobs that make training sets.
        clock: The time now.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: TaskTable,
        definitions: KnowsVersions,
        training_sets: TrainingSets,
        ingestion: IngestionPeer,
        processing: ProcessingPeer,
        computations: Computations,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._definitions = definitions
        self._training_sets = training_sets
        self._ingestion = ingestion
        self._processing = processing
        self._computations = computations
        self._clock = clock

    def create(self, request: TrainingSetRequest, caller: Principal) -> TrainingSet:
        """Checks a training set and takes it; a worker makes it from now on, whatever becomes of this process.

        Args:
            request: What is wanted.
            caller: Who wants it, with her rights.

        Raises:
            DomainError: What is wrong with it.
        """
        before = made_before(lambda training_set_id: self._training_sets.get(request.project, training_set_id), TrainingSetNotFound)
        if before is not None:
            return before
        new = self._checked(effect_id(), request, caller)

        def keep(connection: Connection) -> None:
            self._training_sets.add(connection, new)
            self._tasks.enqueue(connection, NewTask(task_id=new.id, kind=KIND, payload={}, max_attempts=MAX_ATTEMPTS + _LOST_SERVERS))

        write(self._engine, keep)
        return self._training_sets.get(new.project, new.id)

    def foreseen(self, request: TrainingSetRequest, caller: Principal) -> TrainingSet:
        """Returns a training set as it would be taken. It is not kept, so it has no id.

        Raises:
            DomainError: What is wrong with it.
        """
        new = self._checked("", request, caller)
        return TrainingSet(
            id="",
            project=new.project,
            spec=new.spec,
            inputs=new.inputs,
            spine_version=new.spine_version,
            state=JobState.QUEUED,
            error=None,
            processing_job_id="",
            dataset_version=None,
            row_count=0,
            leak_report=(),
            on_demand_replay=(),
            creator=new.creator,
            create_time=new.create_time,
            start_time=None,
            end_time=None,
        )

    def get(self, project: str, training_set_id: str) -> TrainingSet:
        """Returns a training set.

        Raises:
            TrainingSetNotFound: The project has none of this id.
        """
        return self._training_sets.get(project, training_set_id)

    def page(self, project: str, listing: Listing) -> tuple[list[TrainingSet], str]:
        """Returns a page of a project's training sets, and the token of the next one."""
        return self._training_sets.page(project, listing)

    def cancel(self, project: str, training_set_id: str) -> TrainingSet:
        """Ends one that waits, and stops one that is made; one that has ended stays as it is.

        Raises:
            TrainingSetNotFound: The project has none of this id.
        """
        self._training_sets.get(project, training_set_id)
        self._tasks.cancel(training_set_id)
        found = self._training_sets.get(project, training_set_id)
        if found.state is JobState.CANCELLED and found.processing_job_id:
            # It waited for another attempt, so that no worker does this.
            self._computations.cancel(project, found.processing_job_id)
        return found

    def _checked(self, training_set_id: str, request: TrainingSetRequest, caller: Principal) -> NewTrainingSet:
        spec, project = request.spec, request.project
        check_right(caller, READ_DATA, project, "reading the spine and the views")
        check_right(caller, WRITE_DATA, project, "writing the training set")
        wanted = resolved(self._definitions, project, spec.feature_service, spec.feature_service_version, spec.selections)
        spine, datasets = self._pinned(project, spec.spine, wanted)
        _check_dataset(spec, spine, datasets.values())
        columns = checked_columns(spec.spine, spine, wanted)
        made = planned(spec, wanted, spine, columns, datasets)
        self._check_columns(project, spec.dataset, made.columns)
        self._processing.check_job(project, made.job)
        views = {selection.view.id: selection.view for selection in wanted.selections}
        return NewTrainingSet(
            id=training_set_id,
            project=project,
            spec=_filled(spec, wanted, spine, columns),
            inputs=tuple(_input(view, datasets[view.id]) for view in views.values()),
            spine_version=spine.version,
            job=made.job,
            reading=made.reading,
            creator=caller.display_name,
            create_time=self._clock(),
        )

    def _check_columns(self, project: str, dataset: str, columns: Iterable[str]) -> None:
        """Refuses a dataset with columns that the training set lacks: they would stay, as nulls."""
        written = self._ingestion.dataset_or_none(project, dataset)
        names = {name.casefold() for name in columns}
        left = [name for name, _ in written.columns if name.casefold() not in names] if written else []
        if left:
            raise _invalid(
                "spec.dataset",
                f"the dataset {dataset!r} has the columns {', '.join(left[:_SHOWN])} from before, which would stay, as nulls; "
                "drop them, or take another name",
            )

    def _pinned(self, project: str, spine: pb.Spine, wanted: Wanted) -> tuple[PinnedDataset, dict[str, PinnedDataset]]:
        """The versions that are read: of the spine, and of each view by the id of its version. A dataset has one version for all views."""
        views = {selection.view.id: selection.view for selection in wanted.selections}
        version = spine.version if spine.HasField("version") else None
        with ThreadPoolExecutor(_PEER_CALLS) as threads:
            found_spine = threads.submit(self._ingestion.dataset, project, spine.dataset, version)
            names = dict.fromkeys(view.dataset for view in views.values())
            found = {name: threads.submit(self._ingestion.dataset_or_none, project, name) for name in names}
            rows = found_spine.result()
            datasets = {}
            for view in views.values():
                dataset = found[view.dataset].result()
                if dataset is None:
                    raise ViewHasNoRows(view.view, view.dataset)
                datasets[view.id] = dataset
        return rows, datasets


def _check_dataset(spec: pb.TrainingSetSpec, spine: PinnedDataset, datasets: Iterable[PinnedDataset]) -> None:
    """A training set never overwrites what it is made of."""
    written = [spec.dataset] if spec.skip_leak_report else [spec.dataset, f"{spec.dataset}{LEAKS_SUFFIX}"]
    if len(written[-1]) > _LONGEST_DATASET:
        most = _LONGEST_DATASET - len(LEAKS_SUFFIX)
        raise _invalid("spec.dataset", f"has {len(spec.dataset)} characters; with a leak report beside it, {most} are allowed")
    for read in (spine, *datasets):
        if read.name in written:
            raise _invalid(
                "spec.dataset", f"the dataset {read.name!r} would be overwritten, and the training set reads it; take another name"
            )


def _invalid(field: str, message: str) -> InvalidTrainingSet:
    return InvalidTrainingSet(f"{field}: {message}", field_violations=[(field, message)], metadata={"field": field})


def _filled(spec: pb.TrainingSetSpec, wanted: Wanted, spine: PinnedDataset, columns: Sequence[str]) -> pb.TrainingSetSpec:
    """How it is made, with everything that was left open."""
    filled = pb.TrainingSetSpec()
    filled.CopyFrom(spec)
    filled.spine.version = spine.version
    filled.spine.columns[:] = columns
    filled.engine = spec.engine or job_pb.ENGINE_LOCAL
    if wanted.service is not None:
        filled.feature_service_version = wanted.service.version
        return filled
    del filled.selections[:]
    for each in wanted.selections:
        filled.selections.append(
            feature_view_pb2.FeatureSelection(
                view=each.view.view,
                version=each.view.version,
                features=each.features,
                prefix=each.prefix,
                join_key_names=each.join_key_names,
            )
        )
    return filled


def _input(view: ViewVersion, dataset: PinnedDataset) -> TrainingSetInput:
    return TrainingSetInput(view.view, view.version, view.id, view.view_id, dataset.name, dataset.version)
