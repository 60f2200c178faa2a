"""Lists of loaded models: filter, order, pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from aip_filter import Field, Schema, decode_page_token, encode_page_token, page_in_memory, parse, parse_order_by, to_predicate
from servers.runtime.paging import page_size
from servers.serving.entries import ModelView, State

_EPOCH = datetime.fromtimestamp(0, UTC)
_SCHEMA = Schema(
    {
        "name": Field("string"),
        "version": Field("int"),
        "state": Field("enum", values={state.value: state.value for state in State}),
    }
)
_ORDERS: dict[str, Callable[[ModelView], Any]] = {
    "name": lambda view: view.name,
    "version": lambda view: view.version,
    "load_time": lambda view: view.load_time or _EPOCH,
    # Two entries of one version may exist while the older one unloads.
    "state": lambda view: view.state.value,
}


def list_page(
    views: Sequence[ModelView], *, project: str, size: int, token: str, filter_text: str, order_by: str
) -> tuple[list[ModelView], str]:
    """Selects one page.

    Args:
        views: Everything that is loaded in the project.
        project: The project.
        size: `page_size` of the request.
        token: `page_token` of the request.
        filter_text: `filter` of the request.
        order_by: `order_by` of the request.

    Returns:
        The page, and the token of the next one; empty on the last.

    Raises:
        aip_filter.QueryError: If filter, order or token are wrong. The runtime makes INVALID_ARGUMENT of it.
        servers.runtime.errors.InvalidArgument: If the size is negative.
    """
    limit = page_size(size)
    selected = list(views)
    if filter_text:
        matches = to_predicate(parse(filter_text), _SCHEMA)
        selected = [view for view in views if matches({"name": view.name, "version": view.version, "state": view.state.value})]
    order = parse_order_by(order_by, ("name", "version", "load_time"))
    order += [(field, False) for field in ("name", "version", "state") if field not in {known for known, _ in order}]
    query = {"filter": filter_text, "order_by": order_by, "scope": f"ListServedModels {project}"}
    last = decode_page_token(token, **query) if token else None
    page, behind = page_in_memory(selected, [(_ORDERS[field], descends) for field, descends in order], last, limit)
    return page, encode_page_token(behind, **query) if behind is not None else ""
