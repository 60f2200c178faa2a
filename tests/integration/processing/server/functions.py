"""Plans with Python functions that say what they do and wait for a sign, so that tests need not guess how long something takes."""

from __future__ import annotations

from pathlib import Path

from mlops.processing.v1 import plan_pb2

HERE = "the function has begun"


def plan_of(source: str, function: str = "work") -> plan_pb2.Plan:
    """A plan over the input `t` with the column `a`, whose output `f` a function makes."""
    return plan_pb2.Plan(
        steps=[
            plan_pb2.Step(name="t", scan=plan_pb2.Scan(source="t", columns=["a"])),
            plan_pb2.Step(
                name="f",
                python_function=plan_pb2.PythonFunction(
                    input="t", source=source, function=function, schema=[plan_pb2.TypedColumn(name="a", type="BIGINT")]
                ),
            ),
        ],
        outputs=["f"],
    )


def waiting(sign: Path) -> plan_pb2.Plan:
    """Goes on once a file is there."""
    return plan_of(
        f"""
import os, time
def work(batch):
    print({HERE!r})
    while not os.path.exists({str(sign)!r}):
        time.sleep(0.02)
    return batch
"""
    )
