from __future__ import annotations

import re

import numpy as np
import pytest

from servers.serving.batch_sharing import agree, joined, parted, sharing_of
from servers.serving.json_values import bfloat16_bits
from servers.serving.signature import Signature, TensorSpec


def spec(name: str, *symbols: str | int, datatype: str = "FP32", is_optional: bool = False) -> TensorSpec:
    shape = tuple(symbol if isinstance(symbol, int) else -1 for symbol in symbols)
    return TensorSpec(name, datatype, shape, tuple(symbol if isinstance(symbol, str) else "" for symbol in symbols), is_optional)


def sharing(inputs: list[TensorSpec], outputs: list[TensorSpec]):
    return sharing_of(Signature(tuple(inputs), tuple(outputs)))


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([spec("x", "N", 4)], [spec("y", "N", 3)]),
        ([spec("x", "", 4)], [spec("y", "", 3)]),
        ([spec("x", "N", 4)], [spec("y", "", 3)]),
        ([spec("x", "", 4)], [spec("y", "N", 3)]),
        ([spec("x", "N", "T"), spec("mask", "N", "T")], [spec("y", "N", "T", 8)]),
        ([spec("x", "N", 4), spec("threshold", 1, is_optional=True)], [spec("y", "N")]),
    ],
    ids=["named", "unnamed", "output unnamed", "input unnamed", "sequences", "optional input"],
)
def test_models_over_rows_share_runs(inputs, outputs):
    found = sharing(inputs, outputs)

    assert (found.refusal, found.outputs) == ("", frozenset({0}))


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ([], [spec("y", "N")], "no inputs"),
        ([spec("x", 1, 4)], [spec("y", "N")], r"first dimension of input `x` \(FP32 \[1, 4\]\) is fixed"),
        ([spec("x", "N"), spec("scalar")], [spec("y", "N")], "first dimension of input `scalar`"),
        ([spec("x", "N"), spec("z", "M")], [spec("y", "N")], "not the same: M, N"),
        ([spec("x", "N", "N")], [spec("y", "N")], "`x` has its rows `N` in another dimension"),
        ([spec("x", "N")], [spec("y", 1)], "no output has the rows"),
        ([spec("x", "N")], [spec("y", "K")], "no output has the rows"),
        ([spec("x", "N")], [spec("y", "N", "N")], "no output has the rows"),
        ([spec("x", "N", "T")], [spec("y", "N", "")], "no output has the rows"),
        ([spec("x", "", "T")], [spec("y", "T", 3)], "no output has the rows"),
        ([spec("x", "N")], [spec("y")], "no output has the rows"),
    ],
)
def test_models_that_are_not_over_rows_do_not(inputs, outputs, reason):
    found = sharing(inputs, outputs)

    assert found.outputs == frozenset()
    assert found.key({"x": np.zeros((1, 4), "f4")}, (0,), 1) is None
    assert re.search(reason, found.refusal)


def test_a_call_that_wants_an_output_without_rows_runs_alone():
    found = sharing([spec("x", "N", 4)], [spec("y", "N"), spec("mean", 4)])
    feeds = {"x": np.zeros((2, 4), "f4")}

    assert found.key(feeds, (0,), 2) is not None
    assert found.key(feeds, (0, 1), 2) is None


def test_a_call_that_gives_an_optional_input_runs_alone():
    found = sharing([spec("x", "N", 4), spec("threshold", 1, is_optional=True)], [spec("y", "N")])

    assert found.key({"x": np.zeros((2, 4), "f4"), "threshold": np.zeros(1, "f4")}, (0,), 2) is None


def test_calls_share_a_run_where_extents_beyond_the_rows_agree():
    found = sharing([spec("x", "N", "T"), spec("z", "N", "T")], [spec("y", "N", "T")])

    def key(rows: int, length: int, other_rows: int | None = None) -> object:
        return found.key({"x": np.zeros((rows, length)), "z": np.zeros((other_rows or rows, length))}, (0,), rows)

    assert key(1, 5) == key(3, 5)
    assert key(1, 5) != key(1, 6)
    assert key(2, 5, other_rows=3) is None


def test_parts_of_a_run_are_views_in_the_order_of_the_calls():
    feeds = joined([{"x": np.full((rows, 2), rows)} for rows in (1, 0, 2)], ["x"])

    parts = parted([feeds["x"]], [1, 0, 2])

    assert parts is not None
    assert [part[0].tolist() for part in parts] == [[[1, 1]], [], [[2, 2], [2, 2]]]
    assert all(np.shares_memory(part[0], feeds["x"]) for part in (parts[0], parts[2]))
    assert parted([feeds["x"][:2]], [1, 0, 2]) is None
    assert parted([np.array(1.0)], [1]) is None


@pytest.mark.parametrize(
    ("datatype", "shared", "alone", "expected"),
    [
        ("FP32", [1.0, np.nan], [1.0 + 1e-6, np.nan], True),
        ("FP32", [1.0], [1.01], False),
        ("FP32", [np.inf], [1.0], False),
        ("FP32", [100.0, 1e-4], [100.0, 0.0], True),
        ("FP16", [1.0], [1.01], True),
        ("INT64", [1], [2], False),
        ("BYTES", ["a"], ["a"], True),
        ("FP32", [1.0], [1.0, 2.0], False),
    ],
)
def test_answers_agree_up_to_the_order_of_additions(datatype, shared, alone, expected):
    dtype = TensorSpec("y", datatype, (-1,)).element.dtype

    assert agree(TensorSpec("y", datatype, (-1,)), np.array(shared, dtype), np.array(alone, dtype)) is expected


def test_bfloat16_is_compared_by_value():
    one, near, far = (bfloat16_bits(np.array([value], "f4")) for value in (1.0, 1.008, 1.1))
    y = TensorSpec("y", "BF16", (-1,))

    assert agree(y, one, near)
    assert not agree(y, one, far)
