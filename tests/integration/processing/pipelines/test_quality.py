"""Statistics of outputs, alerts that rules raise, and gates."""

from __future__ import annotations

import pyarrow as pa
import pytest
from mlops.processing.v1 import pipeline_pb2 as pipeline_pb
from mlops.processing.v1 import pipeline_service_pb2 as pb
from mlops.processing.v1 import plan_pb2

from tests.integration.processing.pipelines.piped import APPEND, FAILED, INCREMENTAL, SUCCEEDED, UPSERT, Piped
from tests.integration.processing.pipelines.test_runs import FLIGHTS, Case, flights, spec_of
from tests.integration.processing.server.served import reason_of

MEAN, ROW_COUNT = pipeline_pb.QUALITY_STATISTIC_MEAN, pipeline_pb.QUALITY_STATISTIC_ROW_COUNT
OPEN, RESOLVED = pipeline_pb.QUALITY_ALERT_STATE_OPEN, pipeline_pb.QUALITY_ALERT_STATE_RESOLVED


def test_each_run_that_wrote_has_statistics_of_the_whole_output(pipes: Piped) -> None:
    case = Case(pipes)
    case.run()
    pipes.write(case.given, flights((6, "DL", 100.0)), APPEND)
    assert case.run()[0] == INCREMENTAL
    case.run()

    newest, oldest = pipes.quality(case.name)

    assert (newest.dataset, newest.row_count, oldest.row_count) == (case.out, 5, 4)
    columns = {each.column: each for each in newest.columns}
    assert (columns["carrier"].null_fraction, columns["carrier"].distinct_count) == (0.2, 4)
    assert not columns["carrier"].HasField("mean")
    delay = columns["delay"]
    assert (delay.minimum, delay.maximum, delay.mean) == pytest.approx((-4, 100, 26.3))
    assert delay.standard_deviation > 0
    assert (columns["flights"].minimum, columns["flights"].maximum, columns["flights"].null_fraction) == (1, 2, 0)
    page = pipes.stub.ListOutputQuality(pb.ListOutputQualityRequest(name=case.name, page_size=1, order_by="create_time"))
    assert [each.job_id for each in page.quality] == [oldest.job_id]
    assert page.next_page_token
    assert [each.version for each in pipes.quality(case.name, filter=f"version = {newest.version}")] == [newest.version]


def test_an_alert_is_raised_once_and_resolved_where_the_rule_holds_again(local_pipes: Piped) -> None:
    pipes = local_pipes
    case = Case(pipes, quality_rules=[pipeline_pb.QualityRule(name="delay", statistic=MEAN, column="delay", at_most=10, at_least=0)])
    of_pipeline = f'pipeline = "{case.name}"'
    case.run()
    assert pipes.alerts(filter=of_pipeline) == []

    pipes.write(case.given, flights((6, "DL", 1000.0)), APPEND)
    assert case.run()[0] == INCREMENTAL
    case.run(mode=2)

    (alert,) = pipes.alerts(filter=f'{of_pipeline} AND state = "OPEN"')
    assert (alert.rule, alert.dataset, alert.state, alert.value) == ("delay", case.out, OPEN, pytest.approx(206.3))
    assert alert.message == f"MEAN of {case.out}.delay is 206.3; at most 10 is allowed"
    assert not alert.HasField("resolve_time")

    pipes.write(case.given, flights((1, "UA", 2.0)))
    case.run()
    (alert,) = pipes.alerts(filter=of_pipeline)
    assert (alert.state, alert.HasField("resolve_time")) == (RESOLVED, True)

    pipes.write(case.given, flights((1, "UA", None)))
    case.run()
    opened, _ = pipes.alerts(filter=of_pipeline)
    assert (opened.state, opened.HasField("value")) == (OPEN, False)
    assert "is not known" in opened.message
    pipes.update(case.name, spec=spec_of(case.given, case.out))
    assert {each.state for each in pipes.alerts(filter=of_pipeline)} == {RESOLVED}
    pipes.stub.DeletePipeline(pb.DeletePipelineRequest(name=case.name))
    assert pipes.alerts(filter=of_pipeline) == []


def test_a_gate_that_is_not_met_fails_the_run_and_nothing_is_written(local_pipes: Piped) -> None:
    pipes = local_pipes
    case = Case(pipes)
    gated = spec_of(case.given, case.out)
    gated.outputs[0].gate.suite.update(
        {"name": "s", "expectations": [{"type": "expect_column_max_to_be_between", "kwargs": {"column": "delay", "max_value": 50}}]}
    )
    pipes.update(case.name, spec=gated)
    case.run()
    version = pipes.served.versions(case.out)
    pipes.write(case.given, flights((6, "DL", 1000.0)), APPEND)

    failed = pipes.run(case.name)

    assert (failed.state, reason_of(failed)) == (FAILED, "EXPECTATIONS_NOT_MET")
    assert pipes.served.versions(case.out) == version
    assert len(pipes.quality(case.name)) == 1
    assert dict(pipes.get(case.name).input_versions) == {"flights": 1}
    pipes.write(case.given, pa.concat_tables([flights((1, "UA", 2.0)), flights((6, "DL", 3.0))]))
    assert pipes.run(case.name).state == SUCCEEDED
    case.check()


def test_where_one_of_several_outputs_does_not_pass_none_is_written(local_pipes: Piped) -> None:
    pipes = local_pipes
    given, first, second = pipes.served.dataset(FLIGHTS), pipes.served.ingestion.new_dataset(), pipes.served.ingestion.new_dataset()
    plan = plan_pb2.Plan(
        steps=[
            plan_pb2.Step(name="all", scan=plan_pb2.Scan(source="flights")),
            plan_pb2.Step(name="late", filter=plan_pb2.Filter(input="all", condition="delay > 0")),
        ],
        outputs=["all", "late"],
    )
    spec = pipeline_pb.PipelineSpec(
        inputs=[pipeline_pb.PipelineInput(name="flights", dataset=given)],
        plan=plan,
        outputs=[pipeline_pb.PipelineOutput(dataset=first, step="all"), pipeline_pb.PipelineOutput(dataset=second, step="late")],
    )
    spec.outputs[1].gate.suite.update(
        {"name": "s", "expectations": [{"type": "expect_column_max_to_be_between", "kwargs": {"column": "delay", "max_value": 50}}]}
    )
    pipes.create(f"of_{given}", spec)
    assert pipes.run(f"of_{given}").state == SUCCEEDED
    pipes.write(given, flights((6, "DL", 1000.0)), APPEND)

    failed = pipes.run(f"of_{given}")

    assert (failed.state, reason_of(failed)) == (FAILED, "EXPECTATIONS_NOT_MET"), failed.error
    assert [output.HasField("version") for output in failed.outputs] == [False, False]
    assert [pipes.served.versions(name) for name in (first, second)] == [1, 1]
    pipes.write(given, flights((6, "DL", 10.0)), UPSERT, ["id"])
    assert pipes.run(f"of_{given}").state == SUCCEEDED
    assert pipes.check(f"of_{given}").check.is_equal
