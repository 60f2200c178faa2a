"""Plans of the contract and of the domain are the same plans."""

from __future__ import annotations

from hypothesis import assume, given, settings
from mlops.processing.v1 import plan_pb2 as pb

from servers.processing.plan.nodes import AsOfJoin, Filter, Join, JoinKey, JoinKind, Project, Scan
from servers.processing.plan.plan import Plan
from servers.processing.plan.steps import Part, Scale, ScaleKind, Split
from servers.processing.plan_messages import plan_from_proto, plan_to_proto
from tests.unit.processing.test_plan_json import plans


@settings(max_examples=200)
@given(plan=plans)
def test_a_plan_comes_back_as_it_was(plan: Plan) -> None:
    # An empty text in these fields stands for their default.
    assume(all(getattr(step, "right_suffix", "_") and getattr(step, "column", "_") for step in plan.steps))

    assert plan_from_proto(plan_to_proto(plan)) == plan


def test_what_a_message_leaves_out_has_its_default() -> None:
    message = pb.Plan(
        steps=[
            pb.Step(name="t", scan=pb.Scan(source="t")),
            pb.Step(name="j", join=pb.Join(left="t", right="t", keys=[pb.JoinKey(left="a", right="a")])),
            pb.Step(name="a", as_of_join=pb.AsOfJoin(left="t", right="t", left_time="x", right_time="y")),
            pb.Step(name="s", split=pb.Split(input="t", parts=[pb.SplitPart(name="all", share=1)])),
            pb.Step(name="z", scale=pb.Scale(input="t", columns=["a"])),
            pb.Step(name="p", project=pb.Project(input="t")),
            pb.Step(name="f", filter=pb.Filter(input="t")),
        ],
        outputs=["f"],
    )

    assert plan_from_proto(message).steps == (
        Scan("t", "t"),
        Join("j", "t", "t", (JoinKey("a", "a"),), JoinKind.INNER, "", "_right"),
        AsOfJoin("a", "t", "t", (), "x", "y", None, False, JoinKind.LEFT, "_right"),
        Split("s", "t", (Part("all", 1.0),), "split", 0),
        Scale("z", "t", ("a",), ScaleKind.STANDARD),
        Project("p", "t", ()),
        Filter("f", "t", ""),
    )
