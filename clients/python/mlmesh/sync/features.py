"""The feature store: what features there are, their values now, and as they were known in the past."""
# Made by clients/python/make_sync.py. Change mlmesh/aio instead.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from mlops.features.v1 import feature_job_service_pb2

from mlmesh.errors import DeadlineExceeded, FeatureJobFailed, FeatureJobUnfinished, MeshError
from mlmesh.feature_jobs import Materialization, TrainingSet, materialization_value, training_set_value
from mlmesh.feature_specs import spec_of, training_set_spec
from mlmesh.features import Selections
from mlmesh.fields import enum_value
from mlmesh.job_specs import JobResources
from mlmesh.patience import Patience
from mlmesh.sync.blocking import pause
from mlmesh.sync.feature_values import FeatureValueCalls
from mlmesh.sync.pages import Pager

_Job = TypeVar("_Job", TrainingSet, Materialization)


class FeaturesClient(FeatureValueCalls):
    """Keeps entities, feature views and feature services, serves features, and makes training sets of them.

    Args:
        channel: Leads to the mesh.
        caller: Makes the calls.
    """

    def materialize(
        self,
        name: str,
        *,
        mode: str = "incremental",
        version: int = 0,
        wait: bool = True,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> Materialization:
        """Brings the online store up to date with the source of a view, which is computed where it has to be, and waits until it is.

        Args:
            name: The view.
            mode: `incremental`, what has come into the dataset since the last time; or `full`, everything: afterwards the online store is
                what the dataset says. `effective_mode` says what was done.
            version: Version of the view; 0 = the newest.
            wait: Whether to return only once it is done.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Longest wait for it to be done, in seconds; None = as long as it takes. Without `wait` the deadline of the call; None
                = the connection's.

        Returns:
            It, succeeded; without `wait` as it is after the mesh has taken it.

        Raises:
            mlmesh.errors.NotFound: There is no such view or version.
            mlmesh.errors.FailedPrecondition: The view is kept offline alone.
            mlmesh.errors.FeatureJobFailed: It failed, or was cancelled.
            mlmesh.errors.FeatureJobUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        patience = Patience(timeout_s)
        accepted = self.materialize_feature_view(
            name, mode=mode, version=version, project=project, request_id=request_id, timeout_s=timeout_s
        )
        return self._wait(accepted, self.get_materialization, patience, project) if wait else accepted

    def training_set(
        self,
        features: Selections,
        *,
        spine: str | tuple[str, int],
        label_time: str,
        dataset: str,
        columns: Sequence[str] = (),
        version: int = 0,
        strictly_before: bool = False,
        ignore_write_times: bool = False,
        include_event_times: bool = False,
        include_statuses: bool = False,
        skip_leak_report: bool = False,
        engine: str = "",
        resources: JobResources | None = None,
        wait: bool = True,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> TrainingSet:
        """Makes a training set, the features that were known at the time of each row of a dataset, and waits until it is written.

        ```python
        training = mesh.features.training_set("fraud", spine="labels", label_time="time", dataset="fraud_training")
        training.dataset_version, training.row_count, training.leak_report
        ```

        Args:
            features: Name of a feature service; or a list of views and what `mlmesh.features.select` returns.
            spine: The dataset with the rows, `"labels"`, or `("labels", 3)` for a version of it. It has the join keys, and the inputs of
                the service, as columns of these names.
            label_time: Its column with the moment as of which features are wanted.
            dataset: The dataset that is written; made where there is none, and otherwise overwritten, which is a version.
            columns: Columns of the spine that the training set has, in this order; empty = all.
            version: Version of the service; 0 = the newest.
            strictly_before: Whether the event has to be before the label time, not only at it.
            ignore_write_times: Whether values count from their event time on also where they were written later: then the training set
                knows what nobody knew.
            include_event_times: Whether each view has a column `<view>__event_time`.
            include_statuses: Whether each view has a column `<view>__status` with PRESENT, NOT_FOUND or OUTSIDE_MAX_AGE.
            skip_leak_report: Whether the leak report is left out, which costs about as much as the training set.
            engine: What runs it: `local`, `ray`, `dask` or `spark`; empty = `local`.
            resources: What it may use; None = the server's default.
            wait: Whether to return only once it is done.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Longest wait for it to be done, in seconds; None = as long as it takes. Without `wait` the deadline of the call; None
                = the connection's.

        Returns:
            It, succeeded; without `wait` as it is after the mesh has taken it.

        Raises:
            mlmesh.errors.NotFound: There is no such service, view, version or dataset.
            mlmesh.errors.InvalidArgument: It cannot be made; the message names the column.
            mlmesh.errors.FeatureJobFailed: It failed, or was cancelled.
            mlmesh.errors.FeatureJobUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        spec = training_set_spec(
            features,
            spine=spine,
            label_time=label_time,
            dataset=dataset,
            columns=columns,
            version=version,
            strictly_before=strictly_before,
            ignore_write_times=ignore_write_times,
            include_event_times=include_event_times,
            include_statuses=include_statuses,
            skip_leak_report=skip_leak_report,
            engine=engine,
            resources=resources,
        )
        patience = Patience(timeout_s)
        accepted = self.create_training_set(spec, project=project, request_id=request_id, timeout_s=timeout_s)
        return self._wait(accepted, self.get_training_set, patience, project) if wait else accepted

    def create_training_set(
        self,
        spec: feature_job_service_pb2.TrainingSetSpec | Mapping[str, Any],
        *,
        validate_only: bool = False,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> TrainingSet:
        """Has the mesh make a training set, and does not wait for it; `training_set` takes it in pieces.

        Args:
            spec: How it is made; a mapping has the contract's own form in JSON, as `spec` of a training set.
            validate_only: Whether the training set is checked alone, and nothing is computed.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is no such service, view, version or dataset.
            mlmesh.errors.InvalidArgument: It cannot be made; the message names the column.
        """
        request = feature_job_service_pb2.CreateTrainingSetRequest(
            spec=spec_of(feature_job_service_pb2.TrainingSetSpec, spec),
            validate_only=validate_only,
            project=project,
            request_id=request_id,
        )
        return training_set_value(self._caller.unary(self._jobs.CreateTrainingSet, request, timeout_s=timeout_s))

    def get_training_set(self, training_set_id: str, *, project: str = "", timeout_s: float | None = None) -> TrainingSet:
        """Returns a training set as it stands.

        Args:
            training_set_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = feature_job_service_pb2.GetTrainingSetRequest(id=training_set_id, project=project)
        return training_set_value(self._caller.unary(self._jobs.GetTrainingSet, request, timeout_s=timeout_s))

    def wait_for_training_set(self, training_set_id: str, *, project: str = "", timeout_s: float | None = None) -> TrainingSet:
        """Waits until a training set is done.

        Args:
            training_set_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Longest wait, in seconds; None = as long as it takes.

        Returns:
            The training set, succeeded.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.FeatureJobFailed: It failed, or was cancelled.
            mlmesh.errors.FeatureJobUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        patience = Patience(timeout_s)
        found = self.get_training_set(training_set_id, project=project, timeout_s=self._look_s(patience))
        return self._wait(found, self.get_training_set, patience, project)

    def list_training_sets(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[TrainingSet]:
        """Lists training sets, the newest first unless ordered otherwise; without leak reports.

        Args:
            filter: AIP-160 filter over `dataset`, `feature_service`, `state`, `creator`, `create_time` and `end_time`.
            order_by: Of `create_time` and `end_time`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = feature_job_service_pb2.ListTrainingSetsRequest(project=project, filter=filter, order_by=order_by, page_size=page_size)
        return Pager(self._caller, self._jobs.ListTrainingSets, request, "training_sets", timeout_s, training_set_value)

    def cancel_training_set(self, training_set_id: str, *, project: str = "", timeout_s: float | None = None) -> TrainingSet:
        """Has a training set stopped.

        Args:
            training_set_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The training set, which may be cancelling for a while.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = feature_job_service_pb2.CancelTrainingSetRequest(id=training_set_id, project=project)
        return training_set_value(self._caller.unary(self._jobs.CancelTrainingSet, request, timeout_s=timeout_s))

    def materialize_feature_view(
        self,
        name: str,
        *,
        mode: str = "",
        version: int = 0,
        project: str = "",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> Materialization:
        """Has the mesh bring the online store up to date with a view, and does not wait for it.

        Args:
            name: The view.
            mode: `incremental` or `full`; empty = `incremental`.
            version: Version of the view; 0 = the newest.
            project: Project; empty = `default`.
            request_id: A UUID; a repeat within 24 hours returns the first answer. Empty = one is made, for retries of this call.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The materialisation; while another one of the same version waits or runs, that one.

        Raises:
            mlmesh.errors.NotFound: There is no such view or version.
            mlmesh.errors.FailedPrecondition: The view is kept offline alone.
        """
        request = feature_job_service_pb2.MaterializeFeatureViewRequest(
            name=name,
            mode=enum_value(feature_job_service_pb2.MaterializeMode, mode or "unspecified"),
            version=version,
            project=project,
            request_id=request_id,
        )
        return materialization_value(self._caller.unary(self._jobs.MaterializeFeatureView, request, timeout_s=timeout_s))

    def get_materialization(self, materialization_id: str, *, project: str = "", timeout_s: float | None = None) -> Materialization:
        """Returns a materialisation as it stands.

        Args:
            materialization_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = feature_job_service_pb2.GetMaterializationRequest(id=materialization_id, project=project)
        return materialization_value(self._caller.unary(self._jobs.GetMaterialization, request, timeout_s=timeout_s))

    def wait_for_materialization(self, materialization_id: str, *, project: str = "", timeout_s: float | None = None) -> Materialization:
        """Waits until a materialisation is done.

        Args:
            materialization_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Longest wait, in seconds; None = as long as it takes.

        Returns:
            The materialisation, succeeded.

        Raises:
            mlmesh.errors.NotFound: There is none.
            mlmesh.errors.FeatureJobFailed: It failed, or was cancelled.
            mlmesh.errors.FeatureJobUnfinished: It takes longer than `timeout_s`, and goes on.
        """
        patience = Patience(timeout_s)
        found = self.get_materialization(materialization_id, project=project, timeout_s=self._look_s(patience))
        return self._wait(found, self.get_materialization, patience, project)

    def list_materializations(
        self, *, filter: str = "", order_by: str = "", project: str = "", page_size: int = 0, timeout_s: float | None = None
    ) -> Pager[Materialization]:
        """Lists materialisations, the newest first unless ordered otherwise.

        Args:
            filter: AIP-160 filter over `view`, `version`, `state`, `creator`, `create_time` and `end_time`.
            order_by: Of `create_time` and `end_time`, each with ` desc` if wanted.
            project: Project; empty = `default`.
            page_size: Most items a page; 0 = 50.
            timeout_s: Deadline of each page, in seconds; None = the connection's.
        """
        request = feature_job_service_pb2.ListMaterializationsRequest(
            project=project, filter=filter, order_by=order_by, page_size=page_size
        )
        return Pager(self._caller, self._jobs.ListMaterializations, request, "materializations", timeout_s, materialization_value)

    def cancel_materialization(self, materialization_id: str, *, project: str = "", timeout_s: float | None = None) -> Materialization:
        """Has a materialisation stopped. What it has written stays.

        Args:
            materialization_id: Its identifier.
            project: Project; empty = `default`.
            timeout_s: Deadline, in seconds; None = the connection's.

        Returns:
            The materialisation, which may be cancelling for a while.

        Raises:
            mlmesh.errors.NotFound: There is none.
        """
        request = feature_job_service_pb2.CancelMaterializationRequest(id=materialization_id, project=project)
        return materialization_value(self._caller.unary(self._jobs.CancelMaterialization, request, timeout_s=timeout_s))

    def _wait(self, job: _Job, look: Callable[..., Any], patience: Patience, project: str) -> _Job:
        while not job.is_done:
            pause_s = patience.next_pause_s()
            if pause_s is None:
                raise FeatureJobUnfinished(job)
            pause(pause_s)
            try:
                job = look(job.id, project=project, timeout_s=self._look_s(patience))
            except DeadlineExceeded as error:
                raise FeatureJobUnfinished(job) from error
            except MeshError as error:
                # Whoever waits for what he has just begun has its name from nowhere else.
                error.metadata["job_id"] = job.id
                raise
        if not job.is_successful:
            raise FeatureJobFailed(job)
        return job

    def _look_s(self, patience: Patience) -> float:
        return patience.look_s(self._caller.deadline_s(feature_job_service_pb2.GetTrainingSetRequest, None))
