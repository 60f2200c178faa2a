"""What a column has in it, in a few kilobytes that can be merged with those of other parts of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from datasketches import kll_doubles_sketch
from pyarrow import types

from servers.ingestion.profiles.sketches.distinct import DistinctCount
from servers.ingestion.profiles.sketches.encoding import json_of_value, packed, unpacked, value_of_json
from servers.ingestion.profiles.sketches.errors import KindsDiffer
from servers.ingestion.profiles.sketches.frequent import Counts, FrequentValues
from servers.ingestion.profiles.sketches.hashing import Hashes
from servers.ingestion.profiles.sketches.kinds import Kind, floats_of, hashes_of, kind_of, least_and_greatest, plain, value_at
from servers.ingestion.profiles.sketches.moments import Moments

KLL_SIZE = 512
"""Of the quantile sketch: a rank is off by more than 0.5 % in one of a hundred. Half of it would hold the bound of 2 %, too, but its errors
are seen in histograms."""


@dataclass
class ColumnSketch:
    """A sketch of a column.

    ```python
    sketch = ColumnSketch.of(monday["delay"])
    sketch.merge(ColumnSketch.of(tuesday["delay"]))
    kept = sketch.to_bytes()
    ```

    Merged sketches say the same as a sketch of all values, within the bounds that each estimate has anyway. Counts, ranges, means and
    lengths are exact.

    Args:
        kind: What the values are.
        rows: Rows, with nulls.
        nulls: Rows that are null.
        nans: Rows that are NaN; they count nowhere else.
        minimum: Least value as it is kept: times in microseconds since 1970, texts and bytes cut.
        maximum: Greatest value.
        length: Sum of the lengths of texts in characters, of binary values in bytes.
        moments: Of numbers and booleans.
        distinct: Different values.
        frequent: Frequent values, as they are kept.
        quantiles: Of numbers, and of times in microseconds since 1970.
    """

    kind: Kind = Kind.NOTHING
    rows: int = 0
    nulls: int = 0
    nans: int = 0
    minimum: Any = None
    maximum: Any = None
    length: int = 0
    moments: Moments = field(default_factory=Moments)
    distinct: DistinctCount = field(default_factory=DistinctCount)
    frequent: FrequentValues = field(default_factory=FrequentValues)
    quantiles: kll_doubles_sketch = field(default_factory=lambda: kll_doubles_sketch(KLL_SIZE))

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> ColumnSketch:
        """Makes the sketch of a column.

        Args:
            column: Of any type; what is no number, time, boolean, text or bytes is only counted.
        """
        sketch = cls(kind_of(column.type))
        for array in column.chunks if isinstance(column, pa.ChunkedArray) else (column,):
            sketch.add(array)
        return sketch

    @classmethod
    def of_nulls(cls, rows: int) -> ColumnSketch:
        """Makes the sketch of a column that has nothing but nulls."""
        return cls(rows=rows, nulls=rows)

    @property
    def value_count(self) -> int:
        """Rows that are neither null nor NaN."""
        return self.rows - self.nulls - self.nans

    @property
    def distinct_count(self) -> float:
        """Different values: exact up to 128, beyond that with a standard error of 1.15 %. Never more than there are values."""
        exact = self.frequent.distinct_count
        return float(exact) if exact is not None else min(self.distinct.estimate(), float(self.value_count))

    def add(self, array: pa.Array) -> None:
        """Adds rows.

        Raises:
            KindsDiffer: They are of another kind than those before.
        """
        self._take_kind(kind_of(array.type))
        self.rows += len(array)
        self.nulls += array.null_count
        if self.kind is Kind.OTHER or array.null_count == len(array):
            return
        values = plain(array.drop_null())
        if types.is_floating(values.type):
            numbers = values.filter(pc.invert(pc.is_nan(values)))
            self.nans += len(values) - len(numbers)
            values = numbers
        if len(values):
            self._add_values(values)

    def merge(self, other: ColumnSketch) -> None:
        """Adds the rows of another sketch, which stays as it is.

        Raises:
            KindsDiffer: They are of another kind.
        """
        self._take_kind(other.kind)
        self.rows += other.rows
        self.nulls += other.nulls
        self.nans += other.nans
        self.length += other.length
        if other.value_count and other.minimum is not None:
            self._widen(other.minimum, other.maximum)
        self.moments.merge(other.moments)
        self.distinct.merge(other.distinct)
        self.frequent.merge(other.frequent)
        self.quantiles.merge(other.quantiles)

    def to_bytes(self) -> bytes:
        """Returns the sketch as bytes: at most 30 KB, mostly 5 to 15."""
        facts = {
            "kind": self.kind,
            "rows": self.rows,
            "nulls": self.nulls,
            "nans": self.nans,
            "range": [json_of_value(self.minimum), json_of_value(self.maximum)],
            "length": self.length,
            "moments": [self.moments.count, self.moments.mean, self.moments.squares],
            "frequent": [json_of_value(value) for value in self.frequent.values],
            "missed": self.frequent.missed,
        }
        frequent = (self.frequent.hashes.astype("<u8").tobytes(), self.frequent.counts.astype("<i8").tobytes())
        quantiles = b"" if self.quantiles.is_empty() else self.quantiles.serialize()
        return packed(facts, (self.distinct.registers.tobytes(), *frequent, quantiles))

    @classmethod
    def from_bytes(cls, data: bytes) -> ColumnSketch:
        """Reads what `to_bytes` wrote, now or in an earlier version.

        Raises:
            SketchUnreadable: It is something else, or damaged.
        """
        facts, (registers, hashes, counts, quantiles) = unpacked(data)
        values = [value_of_json(value) for value in facts["frequent"]]
        frequent = FrequentValues(
            np.frombuffer(hashes, "<u8").astype(np.uint64), np.frombuffer(counts, "<i8").astype(np.int64), values, facts["missed"]
        )
        return cls(
            kind=Kind(facts["kind"]),
            rows=facts["rows"],
            nulls=facts["nulls"],
            nans=facts["nans"],
            minimum=value_of_json(facts["range"][0]),
            maximum=value_of_json(facts["range"][1]),
            length=facts["length"],
            moments=Moments(*facts["moments"]),
            distinct=DistinctCount(np.frombuffer(registers, np.uint8).copy()),
            frequent=frequent,
            quantiles=kll_doubles_sketch.deserialize(quantiles) if quantiles else kll_doubles_sketch(KLL_SIZE),
        )

    def _take_kind(self, kind: Kind) -> None:
        if kind not in (Kind.NOTHING, self.kind):
            if self.kind is not Kind.NOTHING:
                raise KindsDiffer(f"a sketch of the kind {self.kind} cannot take values of the kind {kind}")
            self.kind = kind

    def _add_values(self, values: pa.Array) -> None:
        self._widen(*least_and_greatest(values, self.kind))
        hashes = hashes_of(values, self.kind)
        each, counts = _counted(hashes)
        self.distinct.add(each)
        self.frequent.add(each, counts, _Values(values, hashes, self.kind))
        if self.kind is Kind.TEXT:
            self.length += pc.sum(pc.utf8_length(values)).as_py()
        elif self.kind is Kind.BINARY:
            self.length += pc.sum(pc.binary_length(values)).as_py()
        else:
            numbers = floats_of(values)
            if self.kind is not Kind.BOOLEAN:
                self.quantiles.update(numbers)
            if self.kind is not Kind.TIME:
                self.moments.merge(Moments.of(numbers))

    def _widen(self, low: Any, high: Any) -> None:
        self.minimum = low if self.minimum is None or low < self.minimum else self.minimum
        self.maximum = high if self.maximum is None or high > self.maximum else self.maximum


class _Values:
    """Finds values by their hashes.

    Args:
        values: A plain column.
        hashes: Those of its values.
        kind: What they are.
    """

    def __init__(self, values: pa.Array, hashes: Hashes, kind: Kind) -> None:
        self._values = values
        self._hashes = hashes
        self._kind = kind

    def __call__(self, wanted: int) -> Any:
        """Returns the first value of a hash."""
        place = int(np.argmax(self._hashes == np.uint64(wanted)))
        return value_at(self._values, place, self._kind)


def _counted(hashes: Hashes) -> tuple[Hashes, Counts]:
    found = pl.DataFrame({"hash": hashes}).group_by("hash").agg(pl.len())
    each: npt.NDArray[np.uint64] = found["hash"].to_numpy()
    return each, found["len"].to_numpy().astype(np.int64)
