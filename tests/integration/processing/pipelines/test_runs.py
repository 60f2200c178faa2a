"""Runs of pipelines, full and incremental, and their checks, on SQLite and folders, and on PostgreSQL and S3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from mlops.processing.v1 import pipeline_pb2 as pipeline_pb
from mlops.processing.v1 import processing_job_pb2 as job_pb

from servers.processing.jobs.jobs import Processing
from tests.integration.processing.pipelines.piped import APPEND, DISCARD_ROW, FULL, INCREMENTAL, SUCCEEDED, UPSERT, Piped

BY_CARRIER = "SELECT carrier, count(*) AS flights, avg(delay) AS delay FROM flights GROUP BY carrier"
FLIGHTS = pa.table(
    {
        "id": [1, 2, 3, 4, 5],
        "carrier": ["UA", "AA", "UA", "B6", None],
        "delay": [2.0, 33.0, None, -4.0, 0.5],
    }
)


def flights(*rows: tuple[int, str | None, float | None]) -> pa.Table:
    """Further flights."""
    return pa.Table.from_pylist([dict(zip(FLIGHTS.column_names, row, strict=True)) for row in rows], schema=FLIGHTS.schema)


def spec_of(given: str, out: str, sql: str = BY_CARRIER, keys: Sequence[str] = ("carrier",), **more: Any) -> pipeline_pb.PipelineSpec:
    return pipeline_pb.PipelineSpec(
        inputs=[pipeline_pb.PipelineInput(name="flights", dataset=given)],
        sql=sql,
        outputs=[pipeline_pb.PipelineOutput(dataset=out)],
        keys=keys,
        **more,
    )


class Case:
    """A pipeline of flights, and what it reads and writes."""

    def __init__(self, pipes: Piped, **more: Any) -> None:
        self.pipes = pipes
        self.given, self.out = pipes.served.dataset(FLIGHTS), pipes.served.ingestion.new_dataset()
        self.name = f"of_{self.given}"
        self.spec = spec_of(self.given, self.out, **more)
        self.made = pipes.create(self.name, self.spec)

    def rows(self) -> list[dict[str, Any]]:
        return sorted(self.pipes.served.rows(self.out), key=str)

    def run(self, mode: int = 0) -> tuple[int, str, int, int]:
        """Runs it; says what it did."""
        job = self.pipes.run(self.name, mode=mode)
        assert job.state == SUCCEEDED, (job, self.pipes.served.log(job.id))
        return job.run_mode, job.full_reason, job.changed_rows, job.touched_keys

    def check(self) -> None:
        job = self.pipes.check(self.name)
        assert job.state == SUCCEEDED, (job, self.pipes.served.log(job.id))
        assert job.check.is_equal, job.check


@pytest.fixture
def case(pipes: Piped) -> Case:
    return Case(pipes)


def test_the_first_run_computes_everything_and_the_next_ones_only_what_is_touched(case: Case) -> None:
    pipes = case.pipes
    assert (case.made.version, case.made.full_only_reason, case.made.run_version) == (1, "", 0)

    assert case.run() == (FULL, "the pipeline has not run before", 0, 0)
    case.check()
    assert len(case.rows()) == 4

    pipes.write(case.given, flights((6, "AA", 7.0), (7, "DL", None)), APPEND)
    assert case.run() == (INCREMENTAL, "", 2, 2)
    assert {"carrier": "AA", "flights": 2, "delay": 20.0} in case.rows()
    assert {"carrier": "DL", "flights": 1, "delay": None} in case.rows()
    case.check()

    # Late rows, and rows that are other ones now; with a null, the keys cannot be told apart by an upsert.
    pipes.write(case.given, flights((4, "B6", 100.0), (5, "UA", 9.0)), UPSERT, ["id"])
    assert case.run() == (INCREMENTAL, "", 4, 3)
    assert [row["carrier"] for row in case.rows()] == ["AA", "B6", "DL", "UA"]
    case.check()

    stands = pipes.get(case.name)
    assert (stands.run_version, dict(stands.input_versions), stands.running_job_id) == (1, {"flights": 3}, "")


def test_a_run_that_is_overtaken_while_it_is_checked_looks_at_its_inputs_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.run()
    checked = Processing._checked

    def overtaken(self: Processing, *arguments: Any) -> Any:
        pinned = checked(self, *arguments)
        monkeypatch.undo()
        case.pipes.write(case.given, flights((6, "AA", 7.0)), APPEND)
        case.run()
        return pinned

    monkeypatch.setattr(Processing, "_checked", overtaken)
    assert case.run() == (INCREMENTAL, "", 0, 0)

    assert dict(case.pipes.get(case.name).input_versions) == {"flights": 2}
    assert {"carrier": "AA", "flights": 2, "delay": 20.0} in case.rows()
    case.check()


def test_where_nothing_changed_nothing_is_written(case: Case) -> None:
    case.run()
    version = case.pipes.served.versions(case.out)

    job = case.pipes.run(case.name)

    assert (job.state, job.run_mode, job.full_reason) == (SUCCEEDED, INCREMENTAL, "")
    assert not job.outputs[0].HasField("version")
    assert case.pipes.served.versions(case.out) == version
    case.check()


def test_a_dataset_that_was_overwritten_is_compared_row_by_row(case: Case) -> None:
    case.run()
    case.pipes.write(case.given, pa.concat_tables([FLIGHTS.slice(1), flights((1, "UA", 3.0))]))

    assert case.run() == (INCREMENTAL, "", 2, 1)
    assert {"carrier": "UA", "flights": 2, "delay": 3.0} in case.rows()
    case.check()


def test_what_others_write_into_an_output_has_everything_computed(case: Case) -> None:
    case.run()
    case.pipes.write(case.out, pa.table({"carrier": ["XX"], "flights": [1], "delay": [0.0]}), APPEND)

    mode, reason, *_ = case.run()

    assert mode == FULL
    assert "somebody else wrote" in reason
    assert "XX" not in [row["carrier"] for row in case.rows()]
    case.check()
    assert case.run()[0] == INCREMENTAL


def test_another_computation_has_everything_computed_and_another_rule_has_not(case: Case) -> None:
    pipes = case.pipes
    case.run()
    ruled = spec_of(case.given, case.out)
    ruled.quality_rules.add(name="rows", statistic=pipeline_pb.QUALITY_STATISTIC_ROW_COUNT, at_least=1)
    assert pipes.update(case.name, spec=ruled).version == 2
    assert case.run()[0] == INCREMENTAL
    assert pipes.get(case.name).run_version == 2

    other = spec_of(case.given, case.out, "SELECT carrier, count(*) + 1 AS flights, avg(delay) AS delay FROM flights GROUP BY carrier")
    pipes.update(case.name, spec=other)
    mode, reason, *_ = case.run()

    assert (mode, reason) == (FULL, "version 3 of the pipeline computes something else than version 2, which ran last")
    case.check()


def test_it_can_be_asked_to_compute_everything(case: Case) -> None:
    case.run()
    assert case.run(FULL) == (FULL, "it was asked for", 0, 0)


def test_without_keys_rows_are_only_added(pipes: Piped) -> None:
    case = Case(pipes, sql="SELECT id, upper(carrier) AS carrier FROM flights WHERE delay IS NOT NULL", keys=())
    case.run()
    pipes.write(case.given, flights((6, "dl", 7.0), (7, "dl", None)), APPEND)

    assert case.run() == (INCREMENTAL, "", 2, 0)
    case.check()
    pipes.write(case.given, flights((6, "dl", 8.0)), UPSERT, ["id"])
    mode, reason, *_ = case.run()
    assert (mode, reason) == (FULL, "1 rows went from input 'flights', and the pipeline has no keys")
    case.check()


def test_a_computation_over_all_rows_says_why_it_is_never_incremental(pipes: Piped) -> None:
    case = Case(pipes, sql="SELECT count(*) AS flights FROM flights", keys=())

    assert "aggregates all rows" in case.made.full_only_reason
    case.run()
    assert case.run()[:2] == (FULL, case.made.full_only_reason)


def test_a_check_looks_at_what_the_run_left_and_finds_rows_that_are_not_computed(pipes: Piped) -> None:
    case = Case(pipes)
    case.run()
    pipes.write(case.out, pa.table({"carrier": ["XX"], "flights": [9], "delay": [0.0]}), APPEND)
    case.check()
    # A gate leaves out rows that a full run computes.
    gated = spec_of(case.given, case.out)
    gated.outputs[0].gate.suite.update(
        {"name": "s", "expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "delay"}}]}
    )
    gated.outputs[0].gate.mode = DISCARD_ROW
    pipes.write(case.given, flights((6, "DL", None)), APPEND)
    # A row that is left out would not take the place of the one before.
    assert "leaves rows out" in pipes.update(case.name, spec=gated).full_only_reason
    assert case.run()[0] == FULL

    job = pipes.check(case.name)

    assert (job.state, job.run_mode, job.check.is_equal) == (SUCCEEDED, job_pb.RUN_MODE_UNSPECIFIED, False)
    assert (job.check.missing_row_count, job.check.extra_row_count) == (1, 0)
    (row,) = job.check.rows
    assert (row.dataset, row.is_extra, dict(row.values)) == (case.out, False, {"carrier": "DL", "flights": 1.0, "delay": None})
