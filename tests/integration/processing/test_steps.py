"""Steps above the core: the same rows every day, and nothing of the test rows in what is fitted."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from servers.processing.engines.local import LocalEngine
from servers.processing.kernels.errors import ValueNotComputable
from servers.processing.plan.nodes import Filter, Scan
from servers.processing.plan.plan import Step
from servers.processing.plan.steps import (
    Encode,
    EncodedColumn,
    EncodeKind,
    Impute,
    ImputeStrategy,
    Part,
    Sample,
    Scale,
    ScaleKind,
    Split,
    Unknown,
)
from tests.integration.processing.relations import LIMITS, bound, local, partitioned, results, rows_of

NUMBERS = {"n": pa.table({"number": list(range(10_000)), "group": [number // 10 for number in range(10_000)]})}
SCAN = Scan("scan", "n")


def of(table: pa.Table, *steps: Step) -> pa.Table:
    return local({"n": table}, SCAN, *steps)


def test_a_sample_has_about_its_share_and_always_the_same_rows() -> None:
    once = local(NUMBERS, SCAN, Sample("s", "scan", 0.1, 42))
    backwards = of(NUMBERS["n"].take(list(reversed(range(10_000)))), Sample("s", "scan", 0.1, 42))
    another = local(NUMBERS, SCAN, Sample("s", "scan", 0.1, 43))

    assert 900 < once.num_rows < 1_100
    assert rows_of(once) == rows_of(backwards)
    assert rows_of(once) != rows_of(another)
    # These rows are in models of people: another version may not choose others.
    assert sorted(once["number"].to_pylist())[:8] == FIRST_OF_SEED_42


FIRST_OF_SEED_42 = [0, 10, 15, 27, 49, 66, 68, 82]


def test_a_smaller_sample_is_part_of_a_larger_one() -> None:
    small, large = (set(local(NUMBERS, SCAN, Sample("s", "scan", share)).column("number").to_pylist()) for share in (0.2, 0.5))

    assert small < large
    assert local(NUMBERS, SCAN, Sample("s", "scan", 1)).num_rows == 10_000


def test_rows_of_a_key_are_sampled_together() -> None:
    found = local(NUMBERS, SCAN, Sample("s", "scan", 0.3, keys=("group",)))

    assert found.num_rows == 10 * len(set(found["group"].to_pylist()))
    assert 2_000 < found.num_rows < 4_000


def test_a_split_gives_each_row_one_part_by_its_key() -> None:
    split = Split("s", "scan", (Part("train", 0.7), Part("valid", 0.1), Part("it's a test", 0.2)), seed=1, keys=("group",))

    found = local(NUMBERS, SCAN, split)

    shares = {name: found.filter(pa.compute.equal(found["split"], name)).num_rows / 10_000 for name in ("train", "valid", "it's a test")}
    assert sum(shares.values()) == 1
    assert shares["train"] == pytest.approx(0.7, abs=0.05)
    assert len(found.group_by(["group", "split"]).aggregate([])) == 1_000


VALUES = pa.table(
    {
        "x": pa.array([1.0, 2.0, None, float("nan"), 9.0, 1.0]),
        "i": pa.array([1, None, 3, 8, None, 1], pa.int32()),
        "w": ["b", None, "a", "a", "b", "c"],
        "part": ["train", "train", "train", "train", "test", "test"],
    }
)


@pytest.mark.parametrize(
    ("strategy", "x", "i", "w"),
    [
        (ImputeStrategy.MEAN, 3.25, 3.25, None),
        (ImputeStrategy.MEDIAN, 1.5, 2.0, None),
        (ImputeStrategy.MOST_FREQUENT, 1.0, 1, "a"),
    ],
)
def test_missing_values_and_nan_are_filled(strategy: ImputeStrategy, x: float, i: float, w: str | None) -> None:
    columns = ("x", "i") if w is None else ("x", "i", "w")

    found = of(VALUES, Impute("filled", "scan", columns, strategy)).to_pydict()

    assert sorted(found["x"]) == sorted([1.0, 2.0, x, x, 9.0, 1.0])
    assert sorted(found["i"]) == sorted([1, i, 3, 8, i, 1])
    assert w is None or sorted(found["w"]) == sorted(["b", w, "a", "a", "b", "c"])


def test_a_constant_is_an_expression_over_the_row() -> None:
    found = of(VALUES, Impute("filled", "scan", ("w",), ImputeStrategy.CONSTANT, "part || '?' -- unknown"))

    assert sorted(found["w"].to_pylist()) == ["a", "a", "b", "b", "c", "train?"]


def test_nothing_of_other_rows_is_in_what_is_fitted() -> None:
    found = of(VALUES, Impute("filled", "scan", ("x",), ImputeStrategy.MEAN, fit_condition="part = 'train'"))

    assert sorted(found["x"].to_pylist()) == [1.0, 1.0, 1.5, 1.5, 2.0, 9.0]


@pytest.mark.parametrize("kind", ScaleKind)
def test_columns_are_scaled_as_numpy_would(kind: ScaleKind) -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.5, -3.0])
    middle, spread = {
        ScaleKind.STANDARD: (values.mean(), values.std()),
        ScaleKind.MIN_MAX: (values.min(), np.ptp(values)),
        ScaleKind.ROBUST: (np.median(values), np.subtract(*np.percentile(values, [75, 25]))),
    }[kind]

    found = of(pa.table({"x": [*values, None, math.nan], "same": [5] * 8}), Scale("scaled", "scan", ("x", "same"), kind)).to_pydict()

    numbers = sorted(value for value in found["x"] if value is not None and not math.isnan(value))
    assert numbers == pytest.approx(sorted((values - middle) / spread))
    assert found["x"].count(None) == 1
    assert found["same"] == [0.0] * 8


def test_ordinal_categories_are_the_sorted_values_of_the_fitted_rows() -> None:
    encode = Encode("encoded", "scan", (EncodedColumn("w"),), EncodeKind.ORDINAL, Unknown.OTHER, "part = 'train'")

    found = of(VALUES, encode)

    assert rows_of(found.select(["part", "w"])) == rows_of(
        pa.table({"part": VALUES["part"], "w": pa.array([1, None, 0, 0, 1, 2], pa.int64())})
    )


def test_an_unknown_category_is_an_error_that_names_it() -> None:
    encode = Encode("encoded", "scan", (EncodedColumn("w", ("a", "b")),), EncodeKind.ORDINAL)

    with pytest.raises(ValueNotComputable, match="column w has a value that is no category: c"):
        of(VALUES, encode)


def test_categories_become_columns() -> None:
    encode = Encode("encoded", "scan", (EncodedColumn("w", ("a", "b")),), EncodeKind.ONE_HOT, Unknown.OTHER)

    found = of(VALUES.select(["w"]), encode)

    assert found.schema == pa.schema([("w_a", pa.int8()), ("w_b", pa.int8()), ("w_other", pa.int8())])
    assert rows_of(found) == rows_of(pa.table({"a": [0, 0, 1, 1, 0, 0], "b": [1, 0, 0, 0, 1, 0], "o": [0, 0, 0, 0, 0, 1]}))


def test_fitting_on_no_rows_leaves_values_missing() -> None:
    found = of(VALUES, Filter("none", "scan", "false"), Impute("filled", "none", ("x",), ImputeStrategy.MEAN))

    assert found.num_rows == 0


def test_fitted_steps_are_the_same_over_partitions() -> None:
    steps = (
        SCAN,
        Split("split", "scan", (Part("train", 0.8), Part("test", 0.2)), keys=("group",)),
        Impute("filled", "split", ("number",), ImputeStrategy.MEDIAN, fit_condition="split = 'train'"),
        Scale("scaled", "filled", ("number",), ScaleKind.MIN_MAX, "split = 'train'"),
        Encode("encoded", "scaled", (EncodedColumn("split"),), EncodeKind.ORDINAL),
    )
    plan = bound(NUMBERS, *steps)

    whole, cut = (results(engine, plan, NUMBERS)["encoded"] for engine in (LocalEngine(LIMITS), partitioned(7)))

    assert rows_of(whole) == rows_of(cut)
