"""What can go wrong with online features, one type a cause."""

from __future__ import annotations

from servers.runtime.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable

__all__ = [
    "EntityKeyCollision",
    "InvalidEntityKey",
    "InvalidFeatureSchema",
    "InvalidFeatureValue",
    "OnlineStoreFull",
    "OnlineStoreMisconfigured",
    "OnlineStoreUnavailable",
    "OnlineStoreUrlError",
]


class InvalidEntityKey(InvalidArgument):
    """Join keys are missing, null, of another type than the entity's, or too long."""

    reason = "INVALID_ENTITY_KEY"


class InvalidFeatureSchema(InvalidArgument):
    """A feature has a type that online vectors do not know, or a name twice."""

    reason = "INVALID_FEATURE_SCHEMA"


class InvalidFeatureValue(InvalidArgument):
    """A value or a time does not fit its feature's type, or a vector would be too large."""

    reason = "INVALID_FEATURE_VALUE"


class EntityKeyCollision(FailedPrecondition):
    """Two keys have the same SHA-256. It is noticed, and the second is not stored."""

    reason = "ENTITY_KEY_COLLISION"


class OnlineStoreFull(ResourceExhausted):
    """The online store has reached its limit, or its disk or memory is full. The rows of the current batch were not written."""

    reason = "ONLINE_STORE_FULL"


class OnlineStoreUnavailable(Unavailable):
    """The online store does not answer, or refuses its credentials. Reads and writes may be repeated: writes change nothing twice."""

    reason = "ONLINE_STORE_UNAVAILABLE"

    def __init__(self, what: str) -> None:
        super().__init__(f"The online store is not available: {what}; try again.", retry_after_s=1)


class OnlineStoreMisconfigured(FailedPrecondition):
    """The online store would lose vectors or put them where they are not found."""

    reason = "ONLINE_STORE_MISCONFIGURED"


class OnlineStoreUrlError(ValueError):
    """A URL in the settings that names no online store. Its text has no credentials in it."""
