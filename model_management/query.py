"""What lists take: filter, ordering, page. The names of fields are here once, for SQL and for memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aip_filter import Field, Order, Schema, decode_page_token, encode_page_token, parse_order_by
from model_management.errors import InvalidValue
from model_management.model import ModelVersion, RegisteredModel, Stage, VersionState

__all__ = ["MODEL_FIELDS", "VERSION_FIELDS", "ListQuery", "row_of"]

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1_000

MODEL_FIELDS: Mapping[str, Field] = {
    "project": Field("string"),
    "name": Field("string"),
    "display_name": Field("string"),
    "description": Field("string"),
    "creator": Field("string"),
    "tags": Field("map"),
    "latest_version": Field("int"),
    "create_time": Field("timestamp"),
    "update_time": Field("timestamp"),
}
"""What filters over models may name."""

VERSION_FIELDS: Mapping[str, Field] = {
    "project": Field("string"),
    "model": Field("string"),
    "version": Field("int"),
    "state": Field("enum", values={state.value: state.value for state in VersionState}),
    "stage": Field("enum", values={stage.value: stage.value for stage in Stage}),
    "format": Field("string"),
    "description": Field("string"),
    "run_id": Field("string", getter=lambda row: row["lineage"].run_id),
    "creator": Field("string"),
    "digest": Field("string"),
    "size_bytes": Field("int"),
    "tags": Field("map"),
    "metrics": Field("map", value_kind="float"),
    "parameters": Field("map"),
    "create_time": Field("timestamp"),
    "update_time": Field("timestamp"),
}
"""What filters over versions may name."""

MODEL_KEY = ("project", "name")
VERSION_KEY = ("project", "model", "version")
_MODEL_ORDERS = frozenset({"name", "create_time", "update_time"})
_VERSION_ORDERS = frozenset({"model", "version", "create_time", "update_time"})


@dataclass(frozen=True, slots=True)
class ListQuery:
    """One page of a list.

    Args:
        projects: Those whose models the caller may see; None for all.
        model: Only versions of this model; empty for all models. Not for lists of models.
        filter: AIP-160 filter over `MODEL_FIELDS` or `VERSION_FIELDS`.
        order_by: Fields with directions, for example ``create_time desc``.
        page_size: Most items; 0 means 50, more than 1,000 is taken as 1,000.
        page_token: `Page.next_page_token` of the page before; all else as in that query.
        include_deleted: Whether deleted ones are listed too.
    """

    projects: frozenset[str] | None = frozenset({"default"})
    model: str = ""
    filter: str = ""
    order_by: str = ""
    page_size: int = 0
    page_token: str = ""
    include_deleted: bool = False

    def limit(self) -> int:
        """Return how many items the page has at most.

        Raises:
            InvalidValue: If `page_size` is negative.
        """
        if self.page_size < 0:
            raise InvalidValue("page_size", f"{self.page_size} is negative; 0 means {DEFAULT_PAGE_SIZE}")
        return min(self.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)

    def model_order(self) -> Order:
        """Return the ordering of models, completed so that it is unique.

        Raises:
            OrderByError: If it names a field by which models are not ordered.
        """
        order = parse_order_by(self.order_by, _MODEL_ORDERS)
        return order + [(name, False) for name in MODEL_KEY if all(name != field for field, _ in order)]

    def version_order(self) -> Order:
        """Return the ordering of versions, newest first by default, completed so that it is unique.

        Raises:
            OrderByError: If it names a field by which versions are not ordered.
        """
        order = parse_order_by(self.order_by, _VERSION_ORDERS)
        return order + [(name, name == "version") for name in VERSION_KEY if all(name != field for field, _ in order)]

    def last_seen(self, kind: str) -> list[Any] | None:
        """Return the ordering's values of the last item of the page before, None on the first page.

        Raises:
            PageTokenError: If the token belongs to another query.
        """
        if not self.page_token:
            return None
        return decode_page_token(self.page_token, filter=self.filter, order_by=self.order_by, scope=self._scope(kind))

    def next_token(self, kind: str, last: list[Any]) -> str:
        """Return the token of the page behind an item with these values."""
        return encode_page_token(last, filter=self.filter, order_by=self.order_by, scope=self._scope(kind))

    def _scope(self, kind: str) -> str:
        projects = "*" if self.projects is None else ",".join(sorted(self.projects))
        return f"{kind}|{projects}|{self.model}|{self.include_deleted}"


def model_schema() -> Schema:
    """Return the schema of models in memory."""
    return Schema(MODEL_FIELDS)


def version_schema() -> Schema:
    """Return the schema of versions in memory."""
    return Schema(VERSION_FIELDS)


def row_of(item: RegisteredModel | ModelVersion) -> dict[str, Any]:
    """Return a model or version as the row that predicates take."""
    return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
