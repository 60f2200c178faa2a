"""Finds the model or version that is meant, or says why there is none."""

from __future__ import annotations

from model_management.errors import AliasNotFound, ModelNotFound, VersionNotFound, VersionNotReady
from model_management.metadata import transitions
from model_management.metadata.records import Transaction
from model_management.model import ModelVersion, RegisteredModel, Stage, VersionState
from model_management.values import LATEST, check_model_name, check_project, check_version_number

__all__ = ["find_model", "find_version", "resolve"]

_DEFAULT_ALIAS = "default"


def find_model(transaction: Transaction, project: str, name: str, *, include_deleted: bool = False) -> RegisteredModel:
    """Return a model.

    Raises:
        ModelNotFound: If it is not there, or deleted and those are not asked for.
    """
    found = transaction.model(check_project(project), check_model_name(name))
    if found is None or (found.delete_time is not None and not include_deleted):
        raise ModelNotFound(project, name, is_deleted=found is not None)
    return found


def find_version(transaction: Transaction, project: str, model: str, number: int, *, include_deleted: bool = False) -> ModelVersion:
    """Return a version of a model that is not deleted itself.

    Raises:
        ModelNotFound: If the model is not there.
        VersionNotFound: If the version is not there, or deleted and those are not asked for.
    """
    find_model(transaction, project, model, include_deleted=include_deleted)
    found = transaction.version(project, model, check_version_number(number))
    if found is None:
        raise VersionNotFound(project, model, number)
    if found.state is VersionState.DELETED and not include_deleted:
        raise VersionNotFound(project, model, number, "it is deleted; restore it to use it again")
    return found


def resolve(transaction: Transaction, project: str, model: str, number: int | None, alias: str | None, stage: Stage | None) -> ModelVersion:
    """Return the version that a number, an alias or a stage stands for; see `MetadataBackend.resolve_version`."""
    asked, owner = number, find_model(transaction, project, model)
    if alias is not None and alias not in {"", LATEST}:
        if alias not in owner.aliases:
            raise AliasNotFound(project, model, alias, owner.aliases)
        number = owner.aliases[alias]
    elif not number and stage is None and alias != LATEST:
        number = owner.aliases.get(_DEFAULT_ALIAS)
    if number:
        try:
            found = find_version(transaction, project, model, number)
            transitions.require_ready(found)
        except (VersionNotFound, VersionNotReady):
            if number == asked or find_model(transaction, project, model).aliases.get(alias or _DEFAULT_ALIAS) == number:
                raise
            # The alias went to another one between the two looks.
            return resolve(transaction, project, model, asked, alias, stage)
        return found
    newest = transaction.newest_ready(project, model, None if stage is None else Stage.parse(stage))
    if newest is None:
        where = "that is READY" if stage is None else f"that is READY in stage {stage}"
        raise VersionNotFound(project, model, where, "save one, or name another by number, alias or stage")
    return newest
