"""What an ingestion would end with, without anything being written or kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from grpc import StatusCode

from servers.ingestion.catalogue import Check
from servers.ingestion.data_process import DataProcesses
from servers.ingestion.errors import ExpectationsNotMet
from servers.ingestion.inputs import Input, spooled
from servers.ingestion.records import Ingestion, NewIngestion
from servers.ingestion.schemas.consumers import Consumers, TouchedDataset
from servers.runtime.auth import Principal
from servers.runtime.errors import DomainError
from servers.runtime.work.job_state import JobState

# An ingestion would be tried again, so this is not how it would end.
_PASSING = (StatusCode.UNAVAILABLE, StatusCode.ABORTED)


class Foreseeing:
    """Does the work of ingestions up to where it would be written.

    Args:
        processes: Where data are read.
        tables_url: Where the tables of datasets are.
        consumers: What uses datasets.
        clock: The time now.
    """

    def __init__(self, processes: DataProcesses, tables_url: str, consumers: Sequence[Consumers], clock: Callable[[], datetime]) -> None:
        self._processes = processes
        self._tables_url = tables_url.rstrip("/")
        self._consumers = consumers
        self._clock = clock

    def foreseen(self, new: NewIngestion, given: Input | None, reader: Principal, check: Check) -> Ingestion:
        """Returns an ingestion as it would end, with what its changes of columns would touch.

        Args:
            new: What is wanted.
            given: The data, where the request has them.
            reader: Who wants to know.
            check: Called now and then.

        Raises:
            DomainError: UNAVAILABLE or ABORTED: it cannot be said now.
        """
        last: dict[str, Any] = {}
        try:
            outcome = self._outcome(new, given, check, last.update)
        except DomainError as error:
            if error.code in _PASSING:
                raise
            known = error.outcome if isinstance(error, ExpectationsNotMet) else {}
            failed = {**last, **known, "error_code": error.code.value[0], "error_metadata": error.metadata}
            return self._ended(new, JobState.FAILED, failed, error.reason, error.message)
        return self._ended(new, JobState.SUCCEEDED, self._with_consumers(new, outcome, reader))

    def _outcome(self, new: NewIngestion, given: Input | None, check: Check, on_progress: Callable[[Any], None]) -> dict[str, Any]:
        identity = {"ingestion_id": new.id, "project": new.project, "dataset": new.dataset, "validate_only": True}
        with spooled(new.request["source"], given, self._processes.scratch_folder) as source:
            arguments = {**new.request, **identity, "source": source}
            operation = new.request.get("operation", "ingest")
            outcome: dict[str, Any] = self._processes.run(operation, arguments, check=check, on_progress=on_progress)
        if outcome["is_refused"]:
            raise ExpectationsNotMet(outcome)
        return outcome

    def _with_consumers(self, new: NewIngestion, outcome: Mapping[str, Any], reader: Principal) -> dict[str, Any]:
        columns = outcome["changed_columns"]
        uri = f"{self._tables_url}/{new.project}/{new.dataset}"
        touched = TouchedDataset(new.project, new.dataset, uri, columns)
        found = [each.of(touched, reader) for each in self._consumers] if columns else []
        return {
            **outcome,
            "affected": [vars(consumer) for each in found for consumer in each.consumers],
            "warnings": [*outcome["warnings"], *(warning for each in found for warning in each.warnings)],
        }

    def _ended(self, new: NewIngestion, state: JobState, outcome: Mapping[str, Any], reason: str = "", message: str = "") -> Ingestion:
        return Ingestion(
            # Nobody can ask for it again.
            id="",
            project=new.project,
            dataset=new.dataset,
            source=new.source,
            mode=new.mode,
            state=state,
            creator=new.creator,
            create_time=new.create_time,
            start_time=new.create_time,
            end_time=self._clock(),
            outcome=outcome,
            error_reason=reason,
            error_message=message,
        )
