"""Takes rows from clients of Feast."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mlops.features.v1 import feature_serving_service_pb2 as pb

from servers.features.definitions.records import ViewVersion
from servers.features.feast.errors import InvalidFeastRequest
from servers.features.feast.push_sources import PushSources
from servers.features.feast.pushed_columns import Columns, rows_of
from servers.features.serving.pushing import Pushing
from servers.features.store.definitions import Definitions
from servers.runtime.auth import Principal

__all__ = ["ColumnsOf", "FeastPushing"]

ColumnsOf = Callable[[ViewVersion], Columns]
"""Returns the columns that came, read for a view."""

_TARGETS: dict[str, pb.PushTarget.ValueType] = {
    "online": pb.PUSH_TARGET_ONLINE,
    "offline": pb.PUSH_TARGET_OFFLINE,
    "online_and_offline": pb.PUSH_TARGET_ONLINE_AND_OFFLINE,
}


class FeastPushing:
    """Takes rows by the names of Feast.

    Args:
        pushing: Takes them.
        definitions: Know the views.
        push_sources: Know the views of push sources.
    """

    def __init__(self, pushing: Pushing, definitions: Definitions, push_sources: PushSources) -> None:
        self._pushing = pushing
        self._definitions = definitions
        self._push_sources = push_sources

    def push(self, project: str, caller: Principal, source: str, columns_of: ColumnsOf, to: str, check: Callable[[], None]) -> None:
        """Takes rows of a push source: into every view that has it, one after the other.

        Args:
            project: Of the views.
            caller: Whose rows they are.
            source: Name of the push source.
            columns_of: Has the rows.
            to: `online`, `offline` or `online_and_offline`.
            check: Raises where nobody waits any more.

        Raises:
            InvalidFeastRequest: INVALID_ARGUMENT: it is no request of Feast's.
            PushSourceNotFound: NOT_FOUND.
            DomainError: As in `Pushing.push`; views before the one that it is about have the rows.
        """
        target = _TARGETS.get(to)
        if target is None:
            raise InvalidFeastRequest("to", f"{to[:100]!r} is none of {', '.join(_TARGETS)}")
        self._push(project, caller, self._push_sources.views(project, source), columns_of, target, check)

    def write(self, project: str, caller: Principal, view: str, columns_of: ColumnsOf, check: Callable[[], None]) -> None:
        """Takes rows of a view into the online store alone.

        Raises:
            InvalidFeastRequest: INVALID_ARGUMENT: it is no request of Feast's.
            DomainError: As in `Pushing.push`.
        """
        versions = [self._definitions.view_version(project, view)]
        self._push(project, caller, versions, columns_of, pb.PUSH_TARGET_ONLINE, check)

    def _push(
        self,
        project: str,
        caller: Principal,
        views: Iterable[ViewVersion],
        columns_of: ColumnsOf,
        target: pb.PushTarget.ValueType,
        check: Callable[[], None],
    ) -> None:
        requests = [
            pb.PushFeaturesRequest(name=view.view, version=view.version, rows=rows_of(view, columns_of(view)), target=target)
            for view in views
        ]
        for request in requests:
            self._pushing.push(project, caller, request, check)
