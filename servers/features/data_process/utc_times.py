"""Dates and times of every kind as moments."""

from __future__ import annotations

import pyarrow as pa

from servers.features.data_process.errors import ViewTimeType
from servers.features.online.errors import InvalidFeatureValue

MOMENT = pa.timestamp("us", "UTC")


def utc_times(array: pa.Array, column: str) -> pa.Array:
    """Returns times in microseconds and UTC: a date is its midnight, a time without a zone is one of UTC.

    Args:
        array: Dates or times.
        column: Their name, for errors.

    Raises:
        ViewTimeType: They are something else.
        InvalidFeatureValue: One does not fit into 64 bits of microseconds.
    """
    if not (pa.types.is_date(array.type) or pa.types.is_timestamp(array.type)):
        raise ViewTimeType(column, str(array.type))
    try:
        return array.cast(MOMENT) if pa.types.is_timestamp(array.type) else array.cast(pa.timestamp("us")).cast(MOMENT)
    except pa.ArrowInvalid as error:
        raise InvalidFeatureValue(f"a time in column `{column}` does not fit into microseconds since 1970: {str(error)[:200]}") from None
