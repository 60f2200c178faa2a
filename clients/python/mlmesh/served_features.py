"""What features of entities are to the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from mlops.features.v1 import feature_serving_service_pb2 as pb

from mlmesh.errors import InvalidArgument
from mlmesh.fields import enum_name

_PRESENT = pb.VALUE_STATUS_PRESENT
_NOT_FOUND = pb.VALUE_STATUS_NOT_FOUND


class ServedFeatures(Mapping[str, list[Any]]):
    """Features of the rows that were asked for, in their order: `found["clicks"]` is a list with None where there is no value.

    It is a mapping of names to such lists. A column is made when it is asked for, and only then.

    Args:
        answer: What the mesh answered.
    """

    def __init__(self, answer: pb.ServeFeaturesResponse) -> None:
        self._features = {feature.name: feature for feature in answer.features}
        self._made: dict[str, list[Any]] = {}
        self.feature_service_version: int = answer.feature_service_version
        """Version of the feature service; 0 where none was named."""
        self.row_count: int = len(answer.features[0].statuses) if answer.features else 0
        """Rows."""

    def __getitem__(self, name: str) -> list[Any]:
        """Returns the values of a feature; None where its status is not `present`."""
        feature = self._feature(name)
        if name not in self._made:
            self._made[name] = _column(feature)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """Yields the names of the features."""
        return iter(self._features)

    def __len__(self) -> int:
        """Returns how many features there are."""
        return len(self._features)

    def __repr__(self) -> str:
        """Returns what there is, without the values."""
        return f"<{self.row_count} rows of {', '.join(self) or 'no features'}>"

    def statuses(self, name: str) -> list[str]:
        """Returns what is known of each value: `present`, `null`, `not_found` or `outside_max_age`.

        Args:
            name: The feature.
        """
        return [enum_name(pb.ValueStatus, status) for status in self._feature(name).statuses]

    def event_times(self, name: str) -> list[datetime | None]:
        """Returns from when on each value is true; None where there is no row of the entity.

        Args:
            name: The feature, which is not computed on demand.

        Raises:
            ValueError: Event times were not asked for, or it has none.
        """
        feature = self._feature(name)
        if len(feature.event_times) != len(feature.statuses):
            why = "ask for them with include_event_times=True" if feature.view else "it is computed on demand"
            raise ValueError(f"there are no event times of {name!r}: {why}")
        pairs = zip(feature.event_times, feature.statuses, strict=True)
        return [None if status == _NOT_FOUND else time.ToDatetime(UTC) for time, status in pairs]

    def type_of(self, name: str) -> str:
        """Returns the type of a feature: `int64`, `list<float32>`.

        Args:
            name: The feature.
        """
        return self._feature(name).type

    def view_of(self, name: str) -> tuple[str, int]:
        """Returns the view of a feature and its version; an empty name and 0 where it is computed on demand.

        Args:
            name: The feature.
        """
        feature = self._feature(name)
        return feature.view, feature.version

    def rows(self) -> list[dict[str, Any]]:
        """Returns the features row by row."""
        columns = [self[name] for name in self]
        return [dict(zip(self, row, strict=True)) for row in zip(*columns, strict=True)]

    def to_arrow(self) -> Any:
        """Returns the features as a table of pyarrow, each with its type.

        Raises:
            mlmesh.errors.InvalidArgument: pyarrow is not installed.
        """
        try:
            import pyarrow as pa
        except ImportError:
            raise InvalidArgument(
                "a table of Arrow needs pyarrow, which is not installed",
                reason="PYARROW_MISSING",
                hint="pip install pyarrow, or use rows()",
            ) from None
        return pa.table({name: pa.array(self[name], _arrow_type(pa, self.type_of(name))) for name in self})

    def to_pandas(self) -> Any:
        """Returns the features as a DataFrame; whole numbers become floats where values are missing, as pandas has it.

        Raises:
            mlmesh.errors.InvalidArgument: pyarrow is not installed.
        """
        return self.to_arrow().to_pandas()

    def _feature(self, name: str) -> pb.ServedFeature:
        try:
            return self._features[name]
        except KeyError:
            raise KeyError(f"there is no feature {name!r}; there are: {', '.join(self)}") from None


def _column(feature: pb.ServedFeature) -> list[Any]:
    kind = feature.values.WhichOneof("kind")
    if kind is None:
        return [None] * len(feature.statuses)
    values = getattr(feature.values, kind)
    raw: Iterable[Any] = _lists(values) if kind == "list_values" else values.values
    read = _reader(kind, feature.type)
    pairs = zip(raw, feature.statuses, strict=True)
    # What is not present says nothing, and may not even be a date.
    if read is None:
        return [value if status == _PRESENT else None for value, status in pairs]
    return [read(value) if status == _PRESENT else None for value, status in pairs]


def _reader(kind: str, type_name: str) -> Callable[[Any], Any] | None:
    if kind == "timestamp_values":
        return _moment
    if type_name == "date":
        return date.fromisoformat
    return Decimal if type_name.startswith("decimal(") else None


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


def _lists(message: pb.ListValues) -> Iterator[list[Any]]:
    kind = message.WhichOneof("elements")
    elements = iter(getattr(message, kind).values if kind is not None else ())
    return (list(islice(elements, length)) for length in message.lengths)


def _arrow_type(pa: Any, name: str) -> Any:
    if name.startswith("list<"):
        return pa.list_(_arrow_type(pa, name[len("list<") : -1]))
    if name.startswith("decimal("):
        return pa.decimal128(*map(int, name[len("decimal(") : -1].split(",")))
    if name == "timestamp":
        return pa.timestamp("us", "UTC")
    # The others are called as Arrow calls them, but for three.
    return getattr(pa, {"bool": "bool_", "date": "date32", "bytes": "binary"}.get(name, name))()
