"""Rights of callers that the feature store checks itself: at other components it acts as the mesh's own account."""

from __future__ import annotations

from servers.features.errors import NotAllowed
from servers.runtime.auth import Principal

READ_DATA = "ingestion.data.read"
WRITE_DATA = "ingestion.data.write"


def check_right(caller: Principal, permission: str, project: str, what: str, advice: str = "") -> None:
    """Finds out whether a caller may do something.

    Args:
        caller: Who it is for.
        permission: What she needs.
        project: Where.
        what: What needs it, for the error.
        advice: What she can do instead, for the error.

    Raises:
        NotAllowed: PERMISSION_DENIED: she may not.
    """
    if not caller.may(permission, project):
        raise NotAllowed(caller.display_name, permission, project, what, advice)
