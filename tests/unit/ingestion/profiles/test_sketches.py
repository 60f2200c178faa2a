"""Sketches against what they estimate, whole and merged from any parts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.ingestion.profiles.sketches import ColumnSketch, Kind, KindsDiffer, SketchUnreadable, TableSketch
from servers.ingestion.profiles.sketches.distinct import DistinctCount
from servers.ingestion.profiles.sketches.frequent import CAPACITY
from servers.ingestion.profiles.sketches.hashing import hashes_of_integers
from servers.ingestion.profiles.sketches.kinds import hashes_of, kind_of, plain

ROWS = 60_000
LARGEST_FILE_BYTES = 30_000


def merged(parts: Sequence[pa.Array]) -> ColumnSketch:
    """The sketches of parts, each written and read again, as one."""
    whole = ColumnSketch()
    for part in parts:
        whole.merge(ColumnSketch.from_bytes(ColumnSketch.of(part).to_bytes()))
    return whole


def split(array: pa.Array, cuts: Sequence[int]) -> list[pa.Array]:
    ends = sorted({min(cut, len(array)) for cut in cuts} | {0, len(array)})
    return [array[low:high] for low, high in pairwise(ends)] or [array]


_numbers = st.lists(st.one_of(st.none(), st.integers(-50, 50).map(float), st.floats(allow_nan=True, width=64)), max_size=80)
_texts = st.lists(st.one_of(st.none(), st.text(max_size=6), st.sampled_from(["a", "b", "é", "𐍈", "a" * 300])), max_size=80)
_cuts = st.lists(st.integers(0, 80), max_size=5)


@given(_numbers, _cuts)
def test_counts_ranges_and_few_values_of_numbers_are_exact_however_they_are_split(values: list[float | None], cuts: list[int]) -> None:
    sketch = merged(split(pa.array(values, pa.float64()), cuts))

    counted = [value for value in values if value is not None and not math.isnan(value)]
    assert (sketch.rows, sketch.nulls) == (len(values), values.count(None))
    assert sketch.nans == sum(value is not None and math.isnan(value) for value in values)
    assert sketch.minimum == min(counted, default=None)
    assert sketch.maximum == max(counted, default=None)
    assert sketch.distinct_count == len(set(counted))
    assert dict(sketch.frequent.most_frequent(CAPACITY)) == Counter(counted)
    if counted and all(abs(value) < 1e100 for value in counted):
        spread = max(map(abs, counted)) + 1
        assert sketch.moments.known_mean == pytest.approx(math.fsum(counted) / len(counted), abs=1e-9 * spread)
        if len(counted) > 1:
            assert sketch.moments.standard_deviation == pytest.approx(float(np.std(counted, ddof=1)), abs=1e-6 * spread)


@given(_texts, _cuts)
def test_texts_are_counted_exactly_however_they_are_split(values: list[str | None], cuts: list[int]) -> None:
    sketch = merged(split(pa.array(values, pa.string()), cuts))

    counted = [value for value in values if value is not None]
    assert sketch.nulls == values.count(None)
    assert sketch.length == sum(map(len, counted))
    assert sketch.distinct_count == len(set(counted))
    assert sorted(count for _, count in sketch.frequent.most_frequent(CAPACITY)) == sorted(Counter(counted).values())
    shorts = [value for value in counted if len(value) < 20]
    if shorts and len(shorts) == len(counted):
        assert (sketch.minimum, sketch.maximum) == (min(shorts), max(shorts))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, ROWS), max_size=6), st.sampled_from([0.0, 1.2, 2.0]))
def test_estimates_keep_their_bounds_however_values_are_split(seed: int, cuts: list[int], skew: float) -> None:
    random = np.random.default_rng(seed)
    values = random.zipf(skew, ROWS).astype(np.float64) if skew else random.normal(1000, 50, ROWS)
    sketch = merged(split(pa.array(values), cuts))

    ordered = np.sort(values)
    for level in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99):
        quantile = sketch.quantiles.get_quantile(level)
        low, high = np.searchsorted(ordered, quantile, "left") / ROWS, np.searchsorted(ordered, quantile, "right") / ROWS
        assert low - 0.02 <= level <= high + 0.02
    true = Counter(values.tolist())
    for value, count in sketch.frequent.most_frequent(CAPACITY):
        assert true[value] - ROWS / (CAPACITY + 1) <= count <= true[value]
    heavy = {value for value, count in true.items() if count > ROWS / (CAPACITY + 1)}
    assert heavy <= {value for value, _ in sketch.frequent.most_frequent(CAPACITY)}
    # Four standard errors.
    assert sketch.distinct_count == pytest.approx(len(true), rel=4 * 0.0115)


@pytest.mark.parametrize("true", [300, 5_000, 40_000, 300_000])
def test_the_standard_error_of_distinct_counts_is_below_two_percent(true: int) -> None:
    errors = []
    for repeat in range(25):
        count = DistinctCount()
        count.add(hashes_of_integers(np.arange(true, dtype=np.int64) + repeat * 10_000_000))
        errors.append(count.estimate() / true - 1)

    # Of 25 samples, the root of the mean square is above 1.35 times the true one in one of a thousand cases.
    assert math.sqrt(np.mean(np.square(errors))) < 1.35 * 0.0115
    assert abs(np.mean(errors)) < 0.01


@pytest.mark.parametrize(
    ("values", "arrow_type", "kind", "minimum", "maximum"),
    [
        ([3, None, -(2**63)], pa.int64(), Kind.NUMBER, -(2**63), 3),
        ([True, False, None], pa.bool_(), Kind.BOOLEAN, False, True),
        (
            [Decimal("1.50"), Decimal("-99999999999999999999.99")],
            pa.decimal128(38, 2),
            Kind.NUMBER,
            Decimal("-99999999999999999999.99"),
            Decimal("1.50"),
        ),
        ([date(1969, 12, 31), date(2020, 1, 1)], pa.date32(), Kind.TIME, -86_400_000_000, 1_577_836_800_000_000),
        ([datetime(2020, 1, 1, tzinfo=UTC)], pa.timestamp("ns", "UTC"), Kind.TIME, 1_577_836_800_000_000, 1_577_836_800_000_000),
        ([b"\xff", b"\x00", b""], pa.binary(), Kind.BINARY, b"", b"\xff"),
        (["b", "a"], pa.dictionary(pa.int8(), pa.string()), Kind.TEXT, "a", "b"),
        (["b", "a"], pa.string_view(), Kind.TEXT, "a", "b"),
        ([[1], None, []], pa.list_(pa.int64()), Kind.OTHER, None, None),
        ([{"a": 1}, None], pa.struct({"a": pa.int64()}), Kind.OTHER, None, None),
        ([None, None], pa.string(), Kind.TEXT, None, None),
        ([None, None], pa.null(), Kind.NOTHING, None, None),
        ([], pa.float64(), Kind.NUMBER, None, None),
    ],
    ids=str,
)
def test_each_type_has_its_kind_and_range(values: list[Any], arrow_type: pa.DataType, kind: Kind, minimum: Any, maximum: Any) -> None:
    sketch = merged([pa.array(values, arrow_type)])

    assert (sketch.kind, sketch.rows, sketch.nulls) == (kind, len(values), values.count(None))
    assert (sketch.minimum, sketch.maximum) == (minimum, maximum)
    assert sketch.distinct_count == (0 if kind is Kind.OTHER else len([value for value in values if value is not None]))


def test_infinities_have_ranks_and_no_mean() -> None:
    sketch = merged([pa.array([1.0, math.inf]), pa.array([-math.inf, math.nan])])

    assert (sketch.minimum, sketch.maximum, sketch.nans) == (-math.inf, math.inf, 1)
    assert (sketch.moments.known_mean, sketch.moments.standard_deviation) == (None, None)
    assert sketch.quantiles.get_quantile(0.5) == 1.0


def test_a_column_that_was_widened_between_files_is_one_column() -> None:
    before, after = pa.array([1, 2, 3], pa.int32()), pa.array([2.0, 3.0, 4.5], pa.float64())
    sketch = merged([before, after, pa.nulls(2), pa.array([Decimal("4.50"), Decimal("7.0")], pa.decimal128(10, 3))])

    assert (sketch.rows, sketch.nulls, sketch.distinct_count) == (10, 2, 5)
    assert dict(sketch.frequent.most_frequent(5)) == {1: 1, 2: 2, 3: 2, 4.5: 2, 7: 1}
    assert (sketch.minimum, sketch.maximum) == (1, 7)
    with pytest.raises(KindsDiffer):
        sketch.merge(ColumnSketch.of(pa.array(["x"])))


def test_dates_are_the_midnights_that_they_widen_to() -> None:
    sketch = merged([pa.array([date(2020, 1, 1)]), pa.array([datetime(2020, 1, 1), datetime(2020, 1, 1, 12)], pa.timestamp("us"))])

    assert sketch.distinct_count == 2


def test_hashes_stay_what_they_are_for_ever() -> None:
    def one(value: Any, arrow_type: pa.DataType) -> int:
        return int(hashes_of(plain(pa.array([value], arrow_type)), kind_of(arrow_type))[0])

    # Kept sketches depend on these. Whoever changes them makes a new version of the format.
    assert one(1, pa.int64()) == one(1.0, pa.float32()) == one(Decimal("1.00"), pa.decimal128(20, 2)) == 10451216379200822465
    assert one("", pa.string()) == one(b"", pa.binary())
    assert one("Zürich", pa.string()) == one("Zürich", pa.large_string())
    assert [one(each, pa.string()) for each in ("UA", "Zürich", "x" * 300)] == [
        4652018277708459401,
        6257045590343771349,
        1533152188014638354,
    ]
    assert one(0.1, pa.float64()) == 2427549199579639111


def test_a_sketch_is_small_whatever_is_in_the_column() -> None:
    random = np.random.default_rng(0)
    texts = pa.array([f"{number % 200:03d}" + "\N{GRINNING FACE}" * 200 for number in range(20_000)])
    numbers = pa.array(random.normal(size=1_000_000))

    assert len(ColumnSketch.of(texts).to_bytes()) < LARGEST_FILE_BYTES
    assert len(ColumnSketch.of(numbers).to_bytes()) < LARGEST_FILE_BYTES
    assert len(ColumnSketch.of(pa.array([1])).to_bytes()) < 1000


def test_bytes_that_are_no_sketch_are_refused() -> None:
    good = TableSketch.of([pa.record_batch({"a": [1, 2], "b": ["x", None]})]).to_bytes()
    assert TableSketch.from_bytes(good).rows == 2

    flipped = [good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :] for place in (0, 4, 6, 10, 20, len(good) - 6)]
    for bad in (b"", b"MLSK", good[:-1], good[:20], b"\x80\x04pickle", *flipped):
        with pytest.raises(SketchUnreadable):
            TableSketch.from_bytes(bad)


def test_columns_that_came_or_went_are_null_in_the_other_files() -> None:
    whole = TableSketch.of([pa.record_batch({"a": [1, 2]})])
    whole.merge(TableSketch.of([pa.record_batch({"b": ["x"]})]))
    whole.merge(TableSketch.of([]))

    assert whole.rows == 3
    assert (whole.column("a").rows, whole.column("a").nulls) == (3, 1)
    assert (whole.column("b").rows, whole.column("b").nulls) == (3, 2)
    assert (whole.column("unknown").rows, whole.column("unknown").nulls) == (3, 3)


def test_slices_are_read_where_they_begin() -> None:
    values = [f"value {number}" for number in range(100)]
    array, decimals = pa.array([None, *values]), pa.array([Decimal(number) for number in range(100)], pa.decimal128(30, 0))

    for low in (0, 1, 33):
        assert ColumnSketch.of(array[low:]).distinct_count == min(100, 101 - low)
        assert ColumnSketch.of(decimals[low : low + 5]).distinct_count == 5
    assert ColumnSketch.of(array[40:41]).minimum == "value 39"


def test_times_far_off_are_counted() -> None:
    days = pa.array([-(2**31), 0, 2**31 - 1], pa.int32()).cast(pa.date32())
    sketch = ColumnSketch.of(days)

    assert sketch.distinct_count == 3
    assert sketch.minimum < 0 < sketch.maximum
