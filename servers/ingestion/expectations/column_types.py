"""Names of column types: those of Polars, Arrow, pandas, Python, Spark and SQL, since suites come from all of them."""

from __future__ import annotations

from difflib import get_close_matches

import polars as pl

_NAMES: dict[type[pl.DataType], str] = {
    pl.Int8: "Int8 int8 ByteType TINYINT int integer",
    pl.Int16: "Int16 int16 ShortType SMALLINT int integer",
    pl.Int32: "Int32 int32 IntegerType INTEGER INT int integer",
    pl.Int64: "Int64 int64 LongType BIGINT int integer",
    pl.Int128: "Int128 HUGEINT int integer",
    pl.UInt8: "UInt8 uint8 UTINYINT int integer",
    pl.UInt16: "UInt16 uint16 USMALLINT int integer",
    pl.UInt32: "UInt32 uint32 UINTEGER int integer",
    pl.UInt64: "UInt64 uint64 UBIGINT int integer",
    pl.Float32: "Float32 float32 FloatType REAL float",
    pl.Float64: "Float64 float64 DoubleType DOUBLE DOUBLE_PRECISION FLOAT double float",
    pl.Boolean: "Boolean bool bool_ boolean BooleanType BOOLEAN",
    pl.String: "String Utf8 str string large_string string_view StringType VARCHAR TEXT CHAR",
    pl.Categorical: "Categorical CategoricalDtypeType category dictionary",
    pl.Enum: "Enum CategoricalDtypeType category dictionary",
    pl.Date: "Date date date32 date32[day] DateType DATE",
    pl.Datetime: "Datetime datetime datetime64 Timestamp timestamp TimestampType TIMESTAMP DATETIME",
    pl.Time: "Time time time64 TIME",
    pl.Duration: "Duration duration timedelta timedelta64 Timedelta INTERVAL",
    pl.Decimal: "Decimal decimal decimal128 DecimalType DECIMAL NUMERIC",
    pl.Binary: "Binary bytes binary large_binary BinaryType BLOB BYTEA",
    pl.List: "List list large_list ArrayType ARRAY",
    pl.Array: "Array list fixed_size_list ArrayType ARRAY",
    pl.Struct: "Struct dict struct StructType STRUCT",
    pl.Null: "Null null NullType",
}
_UNITS = ("ms", "us", "ns")
_KNOWN = {name for names in _NAMES.values() for name in names.split()} | {
    f"{name}[{unit}]" for name in ("datetime64", "timestamp", "timedelta64", "duration") for unit in _UNITS
}


def type_name(value: object) -> str:
    """Accept the name of a type in any of these vocabularies."""
    if not isinstance(value, str) or value not in _KNOWN:
        close = get_close_matches(str(value), _KNOWN, n=1)
        raise ValueError("the name of a type, for example int64, str or TimestampType" + (f"; did you mean {close[0]}?" if close else ""))
    return value


def names_of(dtype: pl.DataType) -> frozenset[str]:
    """Return every name that a column's type goes by."""
    names = set(_NAMES.get(dtype.base_type(), "").split())
    unit = getattr(dtype, "time_unit", None)
    kinds = {pl.Datetime: ("datetime64", "timestamp"), pl.Duration: ("timedelta64", "duration")}.get(dtype.base_type(), ())
    return frozenset(names | {f"{kind}[{unit}]" for kind in kinds})
