"""Filters over what a row has several of: `feature = "age"` holds where one of its features is `age`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, exists

from aip_filter import Field, Schema
from aip_filter.schema import Condition, Entries
from aip_filter.syntax import Restriction


@dataclass(frozen=True)
class SchemaWithSets(Schema):
    """Fields that filters may name, some of them with several texts for a row.

    Args:
        fields: Those with one value.
        sets: Of each other one: how to ask for a text that meets a condition, see `one_of`. `!=` holds where no text is the one.
    """

    sets: Mapping[str, Entries] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return what a caller may write."""
        return sorted([*super().names(), *self.sets])

    def resolve(self, restriction: Restriction) -> tuple[str, Field, str | None]:
        """Return name, field and key that a comparison is about; a set is a map where every key has its texts."""
        name, *rest = restriction.path
        if name in self.sets and not rest:
            return name, Field("map", entries=self.sets[name]), ""
        return super().resolve(restriction)


def one_of(text: ColumnElement[str], *owner: ColumnElement[bool]) -> Entries:
    """Return how to ask for one of the texts of a row.

    Args:
        text: The column with the texts.
        owner: What ties its rows to the row that is filtered, and joins that it takes.
    """

    def has(_key: str, condition: Condition) -> ColumnElement[bool]:
        return exists().where(*owner, condition(text))

    return has
