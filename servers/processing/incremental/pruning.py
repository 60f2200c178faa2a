"""Which files of a dataset may have rows of some keys, by the statistics in its log."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from servers.runtime.tables.data_file import DataFile
from servers.runtime.tables.dataset import Dataset


def files_with(dataset: Dataset, columns: Sequence[str], keys: pa.Table) -> tuple[DataFile, ...]:
    """Returns the files that may have a row with one of some keys.

    Only whole numbers and days are looked at: statistics of texts are cut, those of moments are rounded.

    Args:
        dataset: The dataset.
        columns: That carry the keys.
        keys: A column for each of them, in this order.
    """
    may_have = np.ones(len(dataset.files()), dtype=bool)
    for column, values in zip(columns, keys.columns, strict=True):
        arrow_type = dataset.schema.field(column).type
        is_looked_at = pa.types.is_signed_integer(arrow_type) or pa.types.is_date32(arrow_type)
        if is_looked_at and f"min.{column}" in dataset.statistics.column_names:
            may_have &= _may_have(dataset.statistics, column, values)
    return tuple(file for file, is_kept in zip(dataset.files(), may_have, strict=True) if is_kept)


def _may_have(statistics: pa.Table, column: str, values: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    least, most, nulls = (statistics[f"{what}.{column}"] for what in ("min", "max", "null_count"))
    wanted = np.sort(_numbers(values.drop_null()))
    # Of files that have no statistics nothing is known.
    is_known = np.asarray(pc.and_(pc.is_valid(least), pc.is_valid(most)))
    first, beyond = np.searchsorted(wanted, _numbers(least)), np.searchsorted(wanted, _numbers(most), side="right")
    may_have_null = np.asarray(pc.fill_null(pc.not_equal(nulls, 0), True)) & bool(values.null_count)
    return np.asarray(~is_known | (beyond > first) | may_have_null)


def _numbers(values: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Whole numbers and days as numbers, and null as 0."""
    whole = values.cast(pa.int32()) if pa.types.is_date32(values.type) else values
    return np.asarray(pc.fill_null(whole.cast(pa.int64()), 0))
