"""Jobs from the request to the dataset, on SQLite and folders, and on PostgreSQL and S3."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.struct_pb2 import Struct
from mlops.common.v1 import job_pb2
from mlops.ingestion.v1 import ingestion_pb2, validation_pb2
from mlops.processing.v1 import plan_pb2
from mlops.processing.v1 import processing_job_pb2 as job_pb
from mlops.processing.v1 import processing_service_pb2 as pb

from tests.integration.processing.server.served import ServedProcessing, reason_of

QUEUED, RUNNING, SUCCEEDED, FAILED = (
    job_pb2.JOB_STATE_QUEUED,
    job_pb2.JOB_STATE_RUNNING,
    job_pb2.JOB_STATE_SUCCEEDED,
    job_pb2.JOB_STATE_FAILED,
)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRADES = pa.table({"symbol": ["a", "b", "a"], "at": [NOON, NOON, NOON - timedelta(hours=2)], "shares": [1, 2, 3]})
QUOTES = pa.table(
    {"symbol": ["a", "a", "b"], "quoted_at": [NOON - timedelta(minutes=3), NOON - timedelta(minutes=1), NOON + timedelta(minutes=1)],
     "price": [1.5, 2.5, 9.0]}
)  # fmt: skip


def suite(*expectations: dict[str, Any]) -> Struct:
    found = Struct()
    found.update({"name": "suite", "expectations": list(expectations)})
    return found


NO_NULLS = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "shares"}}
FEW_ROWS = {"type": "expect_table_row_count_to_be_between", "kwargs": {"max_value": 2}}


def test_a_select_becomes_a_dataset(server: ServedProcessing) -> None:
    trades, out = server.dataset(TRADES), server.ingestion.new_dataset()

    job = server.create(
        server.spec({"trades": trades}, "SELECT symbol, sum(shares) AS shares FROM trades GROUP BY symbol ORDER BY symbol", out),
        display_name="Größen",
        labels={"team": "a"},
    )

    # A worker may have taken it already.
    assert (job.state, job.attempt) in ((QUEUED, 0), (RUNNING, 0), (RUNNING, 1))
    assert (job.spec.inputs[0].version, job.outputs[0].step) == (1, "result")
    assert (job.spec.resources.memory_mib, job.spec.max_attempts, job.spec.engine) == (1024, 3, job_pb.ENGINE_LOCAL)
    ended = server.ended(job.id)
    assert ended.state == SUCCEEDED, ended
    assert server.rows(out) == [{"symbol": "a", "shares": 4}, {"symbol": "b", "shares": 2}]
    assert [change.state for change in ended.state_history] == [QUEUED, RUNNING, SUCCEEDED]
    assert (ended.attempt, ended.progress.phase, ended.progress.rows_computed, ended.progress.outputs_written) == (1, "writing", 2, 1)
    assert ended.peak_memory_bytes > 50 << 20
    (output,) = ended.outputs
    assert (output.row_count, output.version, output.dataset) == (2, 1, out)
    assert server.ingestion.look(output.ingestion_id).rows_added == 2
    assert ended.create_time.ToDatetime() <= ended.start_time.ToDatetime() <= ended.end_time.ToDatetime()
    assert server.log(job.id)[-1] == "done"


def test_a_plan_joins_as_of_and_writes_several_datasets(server: ServedProcessing) -> None:
    inputs = {"trades": server.dataset(TRADES), "quotes": server.dataset(QUOTES)}
    joined, late = server.ingestion.new_dataset(), server.ingestion.new_dataset()
    plan = plan_pb2.Plan(
        steps=[
            plan_pb2.Step(name="trades", scan=plan_pb2.Scan(source="trades")),
            plan_pb2.Step(name="quotes", scan=plan_pb2.Scan(source="quotes")),
            plan_pb2.Step(
                name="priced",
                as_of_join=plan_pb2.AsOfJoin(
                    left="trades",
                    right="quotes",
                    keys=[plan_pb2.JoinKey(left="symbol", right="symbol")],
                    left_time="at",
                    right_time="quoted_at",
                    tolerance=3600,
                ),
            ),
            plan_pb2.Step(name="worth", project=plan_pb2.Project(input="priced", columns=[
                plan_pb2.ComputedColumn(name="symbol", expression="symbol"),
                plan_pb2.ComputedColumn(name="worth", expression="shares * price"),
            ])),
            plan_pb2.Step(name="unpriced", filter=plan_pb2.Filter(input="worth", condition="worth IS NULL")),
        ],
        outputs=["worth", "unpriced"],
    )  # fmt: skip
    spec = server.spec(inputs, plan=plan)
    spec.outputs.add(step="unpriced", dataset=late)
    spec.outputs.add(step="worth", dataset=joined)

    ended = server.run(spec)

    assert ended.state == SUCCEEDED, ended
    assert sorted(server.rows(joined), key=str) == [
        {"symbol": "a", "worth": 2.5},
        {"symbol": "a", "worth": None},
        {"symbol": "b", "worth": None},
    ]
    assert [(each.step, each.row_count, each.version) for each in ended.outputs] == [("unpriced", 2, 1), ("worth", 3, 1)]


def test_the_version_is_read_that_was_the_newest_when_the_job_was_asked_for(server: ServedProcessing) -> None:
    data = server.dataset(pa.table({"a": [1]}))
    out = server.ingestion.new_dataset()
    first = server.run(server.spec({"t": data}, "SELECT * FROM t", out))
    server.dataset(pa.table({"a": [2, 3]}), data)

    again = server.run(server.spec({"t": data}, "SELECT * FROM t", out))
    old = server.spec({"t": data}, "SELECT * FROM t", out)
    old.inputs[0].version = first.inputs[0].version
    back = server.run(old)

    assert [job.outputs[0].row_count for job in (first, again, back)] == [1, 2, 1]
    assert server.rows(out) == [{"a": 1}]


def test_of_a_large_dataset_only_the_columns_that_matter_are_read(server: ServedProcessing) -> None:
    noise = np.random.default_rng(1)
    rows = pa.table({"id": range(300_000), "group": [1, 2, 3] * 100_000, "noise": noise.random(300_000), "more": noise.random(300_000)})
    given, out = server.dataset(rows), server.ingestion.new_dataset()

    job = server.run(server.spec({"rows": given}, 'SELECT "group", sum(id)::BIGINT AS total FROM "rows" GROUP BY 1', out))

    assert job.state == SUCCEEDED, job
    assert {row["group"]: row["total"] for row in server.rows(out)} == {group: sum(range(group - 1, 300_000, 3)) for group in (1, 2, 3)}
    assert "input rows: 2 of 4 columns are read" in "\n".join(server.log(job.id))


def test_an_output_without_rows_is_a_dataset_with_columns(server: ServedProcessing) -> None:
    out = server.ingestion.new_dataset()

    ended = server.run(server.spec({"t": server.dataset(TRADES)}, "SELECT symbol, shares FROM t WHERE shares > 99", out))

    assert ended.state == SUCCEEDED, ended
    assert (ended.outputs[0].row_count, ended.outputs[0].version) == (0, 1)
    assert server.ingestion.place.table(out).schema().to_arrow().names == ["symbol", "shares"]


def test_rows_are_appended_or_put_in_the_place_of_those_with_their_keys(server: ServedProcessing) -> None:
    trades, out = server.dataset(TRADES), server.ingestion.new_dataset()
    sums = server.spec({"t": trades}, "SELECT symbol, sum(shares)::BIGINT AS n FROM t GROUP BY symbol")
    sums.outputs.add(dataset=out, mode=ingestion_pb2.WRITE_MODE_UPSERT, keys=["symbol"])
    more = server.spec({"t": trades}, "SELECT 'c' AS symbol, 7::BIGINT AS n FROM t LIMIT 1")
    more.outputs.add(dataset=out, mode=ingestion_pb2.WRITE_MODE_APPEND)

    states = [server.run(spec).state for spec in (sums, more, sums)]

    assert states == [SUCCEEDED] * 3
    assert sorted(server.rows(out), key=str) == [{"symbol": "a", "n": 4}, {"symbol": "b", "n": 2}, {"symbol": "c", "n": 7}]


def test_a_job_may_write_the_dataset_that_it_reads(server: ServedProcessing) -> None:
    data = server.dataset(pa.table({"a": [1, 2, 3]}))

    ended = server.run(server.spec({"t": data}, "SELECT a + 1 AS a FROM t WHERE a > 1", data))

    assert (ended.inputs[0].version, ended.outputs[0].version) == (1, 2)
    assert sorted(row["a"] for row in server.rows(data)) == [3, 4]


def test_inputs_that_are_not_as_expected_fail_the_job_before_it_computes(server: ServedProcessing) -> None:
    trades, out = server.dataset(TRADES), server.ingestion.new_dataset()
    spec = server.spec({"t": trades}, "SELECT * FROM t", out)
    spec.inputs[0].expectations.CopyFrom(suite(NO_NULLS, FEW_ROWS))

    ended = server.run(spec)

    assert (ended.state, reason_of(ended), ended.progress.phase) == (FAILED, "INPUT_EXPECTATIONS_NOT_MET", "validating")
    assert "expect_table_row_count_to_be_between" in ended.error.message
    report = ended.inputs[0].validation
    assert (report.status, [result.success for result in report.results]) == (validation_pb2.VALIDATION_STATUS_FAILED, [True, False])
    assert not server.ingestion.exists(out)
    assert (
        not server.stub.ListProcessingJobs(pb.ListProcessingJobsRequest(filter='state = "FAILED"')).jobs[0].inputs[0].HasField("validation")
    )


def test_a_gate_refuses_rows_and_the_outputs_before_it_stay(server: ServedProcessing) -> None:
    trades, good, bad = server.dataset(TRADES), server.ingestion.new_dataset(), server.ingestion.new_dataset()
    spec = server.spec({"t": trades}, "SELECT * FROM t")
    spec.outputs.add(dataset=good, gate=ingestion_pb2.ExpectationGate(suite=suite(NO_NULLS)))
    spec.outputs.add(dataset=bad, gate=ingestion_pb2.ExpectationGate(suite=suite(FEW_ROWS)))

    ended = server.run(spec)

    assert (ended.state, reason_of(ended)) == (FAILED, "EXPECTATIONS_NOT_MET")
    assert [(each.row_count, each.HasField("version")) for each in ended.outputs] == [(3, True), (3, False)]
    assert server.ingestion.look(ended.outputs[1].ingestion_id).validation.status == validation_pb2.VALIDATION_STATUS_FAILED
    assert server.ingestion.exists(good)
    assert not server.ingestion.exists(bad)


def test_jobs_are_found_by_what_they_are(server: ServedProcessing) -> None:
    data, out = server.dataset(pa.table({"a": [1]})), server.ingestion.new_dataset()
    spec = server.spec({"t": data}, "SELECT * FROM t", out)
    team = server.ingestion.new_dataset()
    ids = [server.run(spec, display_name=name, labels={"team": team, "n": name}).id for name in ("b", "c", "a")]

    def listed(**fields: Any) -> tuple[list[str], str]:
        fields["filter"] = f'labels.team = "{team}"{fields.get("filter", "")}'
        answer = server.stub.ListProcessingJobs(pb.ListProcessingJobsRequest(**fields))
        assert not any(job.spec.HasField("sql") for job in answer.jobs)
        return [job.id for job in answer.jobs], answer.next_page_token

    assert listed()[0] == ids[::-1]
    assert listed(order_by="display_name")[0] == [ids[2], ids[0], ids[1]]
    assert listed(filter=' AND engine = "LOCAL" AND state = "SUCCEEDED" AND labels.n = "c"')[0] == [ids[1]]
    assert listed(filter=' AND end_time < "2020-01-01T00:00:00Z"')[0] == []
    first, token = listed(page_size=2)
    second, end = listed(page_size=2, page_token=token)
    assert (first + second, end) == (ids[::-1], "")


def test_a_job_is_explained_and_foreseen_without_being_taken(server: ServedProcessing) -> None:
    data, out = server.dataset(TRADES), server.ingestion.new_dataset()
    spec = server.spec({"t": data}, "SELECT symbol, count(*) AS n FROM t GROUP BY symbol", out)

    explained = server.stub.ExplainProcessingJob(pb.ExplainProcessingJobRequest(spec=spec))
    foreseen = server.create(spec, validate_only=True)

    assert [step.kind for step in explained.steps] == ["Scan", "Aggregate", "Project"]
    assert [(column.name, column.type) for column in explained.steps[-1].columns] == [("symbol", "string"), ("n", "int64")]
    assert (explained.estimated_input_rows, explained.plan.outputs) == (3, ["result"])
    assert "stages:" in explained.text
    as_plan = server.spec({"t": data}, plan=explained.plan, output=out)
    assert server.create(as_plan, validate_only=True).spec.plan == explained.plan
    assert (foreseen.id, foreseen.state, foreseen.spec.inputs[0].version) == ("", QUEUED, 1)
    assert not server.ingestion.exists(out)


def test_a_repeated_request_is_one_job(server: ServedProcessing) -> None:
    spec = server.spec({"t": server.dataset(TRADES)}, "SELECT * FROM t", server.ingestion.new_dataset())
    request_id = "6f1b4a52-4f0a-4a4f-9a70-" + server.ingestion.new_dataset()[-12:]

    first, second = (server.create(spec, request_id=request_id) for _ in range(2))

    assert first.id == second.id
    assert server.ended(first.id).state == SUCCEEDED


@pytest.mark.parametrize("limit", [3, 0])
def test_the_first_rows_come_in_their_order(server: ServedProcessing, limit: int) -> None:
    data = server.dataset(pa.table({"a": list(range(1000))}))
    out = server.ingestion.new_dataset()

    server.run(server.spec({"t": data}, f"SELECT a FROM t ORDER BY a DESC LIMIT {limit}", out))

    assert [row["a"] for row in server.rows(out)] == [999, 998, 997][:limit]
