"""Two plans as one."""

from __future__ import annotations

from mlops.processing.v1 import plan_pb2 as pb

from servers.features.jobs.plan_merging import merged
from servers.features.offline.steps import cross_join, filtered, project, scan


def test_what_both_plans_do_alike_is_done_once_and_the_rest_gets_other_names() -> None:
    one = [scan("read", "t", ["a"]), filtered("some", "read", "a > 1")]
    other = [
        scan("t", "t", ["a"]),
        filtered("same", "t", "a > 1"),
        filtered("some", "t", "a > 2"),
        cross_join("pairs", "same", "some"),
        pb.Step(name="both", union=pb.Union(inputs=["same", "some"])),
    ]

    steps, names = merged(one, other, "leak_")

    assert names == {"t": "read", "same": "some", "some": "leak_some", "pairs": "leak_pairs", "both": "leak_both"}
    assert steps == [
        *one,
        filtered("leak_some", "read", "a > 2"),
        cross_join("leak_pairs", "some", "leak_some"),
        pb.Step(name="leak_both", union=pb.Union(inputs=["some", "leak_some"])),
    ]


def test_steps_that_differ_in_anything_are_not_shared() -> None:
    steps, _ = merged([scan("read", "t", ["a"])], [scan("read", "t", ["a", "b"]), project("p", "read", {"c": "a"})], "x_")

    assert [step.name for step in steps] == ["read", "x_read", "x_p"]
    assert steps[-1].project.input == "x_read"
