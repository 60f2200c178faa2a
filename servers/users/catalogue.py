"""The permissions of the mesh, as the contracts state them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from aip_filter import Field, Schema, decode_page_token, encode_page_token, page_in_memory, parse, parse_order_by, to_predicate
from servers.runtime.paging import Listing

_SCHEMA = Schema({"name": Field("string")})
_SCOPE = "permissions"


@dataclass(frozen=True)
class PermissionUse:
    """A permission and the methods that ask for it.

    Args:
        name: Name.
        methods: Full names of methods, sorted.
    """

    name: str
    methods: tuple[str, ...]


class Catalogue:
    """All permissions, read on first use: most starts of the server need none of them.

    Args:
        load: Reads them from the contracts.
    """

    def __init__(self, load: Callable[[], Sequence[PermissionUse]]) -> None:
        self._load = load

    @cached_property
    def _permissions(self) -> tuple[PermissionUse, ...]:
        return tuple(sorted(self._load(), key=lambda permission: permission.name))

    def names(self) -> tuple[str, ...]:
        """Every permission, sorted."""
        return tuple(permission.name for permission in self._permissions)

    def page(self, listing: Listing) -> tuple[list[PermissionUse], str]:
        """One page of permissions, and the token of the next.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        bound = {"filter": listing.filter, "order_by": listing.order_by, "scope": _SCOPE}
        descends = any(descends for _, descends in parse_order_by(listing.order_by, {"name"}))
        matches = to_predicate(parse(listing.filter), _SCHEMA)
        last = decode_page_token(listing.page_token, **bound) if listing.page_token else None
        found = [permission for permission in self._permissions if matches({"name": permission.name})]
        page, end = page_in_memory(found, [(lambda permission: permission.name, descends)], last, listing.page_size)
        return page, "" if end is None else encode_page_token(end, **bound)
