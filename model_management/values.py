"""What names, tags and texts may be. A value is checked once, when it comes in, and trusted afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from model_management.errors import InvalidValue

__all__ = [
    "LATEST",
    "check_alias",
    "check_map",
    "check_metrics",
    "check_model_name",
    "check_path",
    "check_project",
    "check_request_id",
    "check_text",
    "check_version_number",
]

LATEST = "latest"
"""What people write for the newest version; no alias can be called so."""

MAX_TAGS = 256
MAX_ENTRIES = 1_000
MAX_KEY_LENGTH = 255
MAX_TAG_LENGTH = 5_000
MAX_PARAMETER_LENGTH = 65_536
MAX_PATH_LENGTH = 1_024

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", re.ASCII)
_PROJECT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,254}", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}", re.ASCII)
# NUL cannot be stored by PostgreSQL, halves of surrogate pairs by nobody.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def check_model_name(name: str) -> str:
    """Return the name.

    Raises:
        InvalidValue: If it is not 1 to 255 letters, digits, ``.``, ``_`` and ``-`` that begin with a letter or digit.
    """
    if not isinstance(name, str) or not _MODEL.fullmatch(name):
        raise InvalidValue(
            "name", f"{str(name)[:80]!r} is no model name; allowed are 1 to 255 of A-Z a-z 0-9 . _ - beginning with a letter or digit"
        )
    return name


def check_project(project: str) -> str:
    """Return the project.

    Raises:
        InvalidValue: If it is not 1 to 63 lower-case letters, digits and ``-``.
    """
    if not isinstance(project, str) or not _PROJECT.fullmatch(project):
        raise InvalidValue(
            "project", f"{str(project)[:80]!r} is no project; allowed are 1 to 63 of a-z 0-9 - beginning with a letter or digit"
        )
    return project


def check_alias(alias: str) -> str:
    """Return the alias.

    Raises:
        InvalidValue: If it could be taken for a version, or has characters that a model name cannot have.
    """
    if not isinstance(alias, str) or not _ALIAS.fullmatch(alias):
        raise InvalidValue("alias", f"{str(alias)[:80]!r} is no alias; allowed are 1 to 255 of A-Z a-z 0-9 . _ - beginning with a letter")
    if alias.lower() == LATEST:
        raise InvalidValue("alias", f"{alias!r} always means the newest version; choose another name")
    return alias


def check_version_number(version: int) -> int:
    """Return the number.

    Raises:
        InvalidValue: If it is not between 1 and 2³¹ - 1.
    """
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version < 2**31:
        raise InvalidValue("version", f"{version!r} is no version; versions are numbered from 1")
    return version


def check_request_id(request_id: str | None) -> str | None:
    """Return the request id, None for none.

    Raises:
        InvalidValue: If it is longer than 100 characters or has others than a UUID could have.
    """
    if request_id and not _REQUEST_ID.fullmatch(request_id):
        raise InvalidValue("request_id", "write a UUID")
    return request_id or None


def check_text(field: str, text: str, max_length: int) -> str:
    """Return the text.

    Raises:
        InvalidValue: If it is too long or cannot be stored.
    """
    if not isinstance(text, str):
        raise InvalidValue(field, f"is a {type(text).__name__}, not a text")
    if len(text) > max_length:
        raise InvalidValue(field, f"has {len(text):,} characters; at most {max_length:,} are allowed")
    if found := _UNSTORABLE.search(text):
        raise InvalidValue(field, f"holds the character U+{ord(found.group()):04X} at {found.start()}, which cannot be stored")
    return text


def check_map(
    field: str, entries: Mapping[str, str], *, max_entries: int = MAX_ENTRIES, max_length: int = MAX_PARAMETER_LENGTH
) -> dict[str, str]:
    """Return keys and texts as a new dictionary.

    Raises:
        InvalidValue: If there are too many entries, or a key or value is not allowed.
    """
    if len(entries) > max_entries:
        raise InvalidValue(field, f"has {len(entries):,} entries; at most {max_entries:,} are allowed")
    return {_check_key(field, key): check_text(f"{field}.{key}", value, max_length) for key, value in entries.items()}


def check_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return keys and numbers as a new dictionary; NaN and infinities are kept.

    Raises:
        InvalidValue: If there are too many, a key is not allowed, or a value is no number.
    """
    if len(metrics) > MAX_ENTRIES:
        raise InvalidValue("metrics", f"has {len(metrics):,} entries; at most {MAX_ENTRIES:,} are allowed")
    checked = {}
    for key, value in metrics.items():
        try:
            checked[_check_key("metrics", key)] = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, InvalidValue):
                raise
            raise InvalidValue(f"metrics.{key}", f"{str(value)[:80]!r} is no number") from None
    return checked


def check_path(path: str) -> str:
    """Return the path of a file within a version.

    Raises:
        InvalidValue: If it is absolute, leaves its folder, or is written in a way that two systems would read differently.
    """
    check_text("path", path, MAX_PATH_LENGTH)
    pure = PurePosixPath(path)
    if (
        not path
        or pure.is_absolute()
        or ".." in pure.parts
        or str(pure) != path
        or path == "."
        or "\\" in path
        or any(c < " " for c in path)
    ):
        raise InvalidValue(
            "path", f"{path[:80]!r} is no relative path with / and without .. and control characters, such as weights/model.onnx"
        )
    return path


def _check_key(field: str, key: str) -> str:
    check_text(f"{field} key", key, MAX_KEY_LENGTH)
    if not key:
        raise InvalidValue(field, "has an empty key")
    return key
