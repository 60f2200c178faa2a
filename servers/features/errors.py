"""What can be wrong with entities, views and services, and with what is selected of them."""

from __future__ import annotations

from collections.abc import Sequence

from servers.runtime.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied

_ENTITY = "mlops.features.v1.Entity"
_VIEW = "mlops.features.v1.FeatureView"
_SERVICE = "mlops.features.v1.FeatureService"
_SHOWN = 10


class InvalidDefinition(InvalidArgument):
    """A field is wrong.

    Args:
        field: Path of the field.
        message: What is wrong, what is allowed and what to do.
    """

    reason = "INVALID_FEATURE_DEFINITION"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", field_violations=[(field, message)], metadata={"field": field})


class InvalidEntity(InvalidDefinition):
    """An entity contradicts itself, or a change of it changes its key."""

    reason = "INVALID_ENTITY"


class InvalidFeatureView(InvalidDefinition):
    """A view contradicts itself, or does not fit its source."""

    reason = "INVALID_FEATURE_VIEW"


class InvalidFeatureService(InvalidDefinition):
    """A service contradicts itself, or does not fit its views."""

    reason = "INVALID_FEATURE_SERVICE"


class InvalidFeatureSelection(InvalidDefinition):
    """The features that are asked for do not fit together, or their views do not have them."""

    reason = "INVALID_FEATURE_SELECTION"


class NotAllowed(PermissionDenied):
    """The caller may call the method, and may not do what the feature store would do for her."""

    reason = "PERMISSION_DENIED"

    def __init__(self, who: str, permission: str, project: str, what: str, advice: str = "") -> None:
        super().__init__(
            f"{who!r} lacks the permission {permission!r} in project {project!r}, which {what} needs; "
            f"an administrator can bind a role that has it{advice}",
            metadata={"permission": permission, "project": project},
        )


class EntityNotFound(NotFound):
    """There is no such entity, or it is another project's."""

    reason = "ENTITY_NOT_FOUND"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"there is no entity {name!r} in project {project!r}; ListEntities lists those that there are",
            metadata={"project": project, "name": name},
            resource=(_ENTITY, name),
        )


class EntityExists(AlreadyExists):
    """The project has an entity of the name."""

    reason = "ENTITY_EXISTS"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"project {project!r} has an entity {name!r} already; use it, or take another name", metadata={"project": project, "name": name}
        )


class EntityInUse(FailedPrecondition):
    """Views have the entity."""

    reason = "ENTITY_IN_USE"

    def __init__(self, name: str, views: Sequence[str]) -> None:
        message = f"the entity {name!r} is that of {_listed('feature view', views)}; delete these first"
        super().__init__(message, metadata={"name": name, "views": ",".join(views[:_SHOWN])}, preconditions=[("ENTITY", name, message)])


class ViewNotFound(NotFound):
    """There is no such feature view, or it is another project's."""

    reason = "FEATURE_VIEW_NOT_FOUND"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"there is no feature view {name!r} in project {project!r}; ListFeatureViews lists those that there are",
            metadata={"project": project, "name": name},
            resource=(_VIEW, name),
        )


class ViewVersionNotFound(NotFound):
    """A feature view has not had the version yet."""

    reason = "FEATURE_VIEW_VERSION_NOT_FOUND"

    def __init__(self, name: str, version: int, newest: int) -> None:
        super().__init__(
            f"the feature view {name!r} has no version {version}; its newest is {newest}",
            metadata={"name": name, "version": str(version), "newest_version": str(newest)},
            resource=(_VIEW, name),
        )


class ViewVersionGone(NotFound):
    """The feature view of a version was deleted."""

    reason = "FEATURE_VIEW_DELETED"

    def __init__(self, version_id: str) -> None:
        super().__init__(
            f"the feature view with the version {version_id} was deleted; ListFeatureViews lists those that there are",
            metadata={"version_id": version_id},
            resource=(_VIEW, version_id),
        )


class ViewExists(AlreadyExists):
    """The project has a feature view of the name."""

    reason = "FEATURE_VIEW_EXISTS"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"project {project!r} has a feature view {name!r} already; change it with UpdateFeatureView, or take another name",
            metadata={"project": project, "name": name},
        )


class ViewInUse(FailedPrecondition):
    """Services have features of the view."""

    reason = "FEATURE_VIEW_IN_USE"

    def __init__(self, name: str, services: Sequence[str]) -> None:
        message = f"the feature view {name!r} is served by {_listed('feature service', services)}; delete these first"
        super().__init__(
            message, metadata={"name": name, "services": ",".join(services[:_SHOWN])}, preconditions=[("FEATURE_VIEW", name, message)]
        )


class ViewRuns(FailedPrecondition):
    """A view that is being deleted is still computed."""

    reason = "FEATURE_VIEW_RUNS"

    def __init__(self, name: str, pipeline: str, job_id: str) -> None:
        message = (
            f"the feature view {name!r} is still computed, by job {job_id} of the pipeline {pipeline!r}; nobody is served by the view any "
            "more. Wait for the end of the job, or cancel it, then repeat DeleteFeatureView"
        )
        super().__init__(
            message, metadata={"name": name, "pipeline": pipeline, "job_id": job_id}, preconditions=[("FEATURE_VIEW", name, message)]
        )


class ServiceNotFound(NotFound):
    """There is no such feature service, or it is another project's."""

    reason = "FEATURE_SERVICE_NOT_FOUND"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"there is no feature service {name!r} in project {project!r}; ListFeatureServices lists those that there are",
            metadata={"project": project, "name": name},
            resource=(_SERVICE, name),
        )


class ServiceVersionNotFound(NotFound):
    """A feature service has not had the version yet."""

    reason = "FEATURE_SERVICE_VERSION_NOT_FOUND"

    def __init__(self, name: str, version: int, newest: int) -> None:
        super().__init__(
            f"the feature service {name!r} has no version {version}; its newest is {newest}",
            metadata={"name": name, "version": str(version), "newest_version": str(newest)},
            resource=(_SERVICE, name),
        )


class ServiceExists(AlreadyExists):
    """The project has a feature service of the name."""

    reason = "FEATURE_SERVICE_EXISTS"

    def __init__(self, project: str, name: str) -> None:
        super().__init__(
            f"project {project!r} has a feature service {name!r} already; change it with UpdateFeatureService, or take another name",
            metadata={"project": project, "name": name},
        )


class DefinitionChanged(Aborted):
    """Somebody changed or deleted a definition between reading it and writing."""

    reason = "FEATURE_DEFINITION_CHANGED"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} was changed or deleted meanwhile; repeat the call", metadata={"changed": what})


def _listed(what: str, names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"the {what}{'s' if len(names) > 1 else ''} {shown}{f' and {more} more' if more > 0 else ''}"
