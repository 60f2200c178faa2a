"""Prefix, suffix and substring matches that tell upper from lower case on every database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean, String

__all__ = ["ExactMatch", "matches_text"]


class ExactMatch(FunctionElement[bool]):
    """A text column against a pattern: LIKE, or GLOB on SQLite, whose LIKE takes ``a`` for ``A``.

    Args:
        column: What is matched.
        text: What has to occur in it.
        any_prefix: Whether something may stand before it.
        any_suffix: Whether something may stand behind it.
    """

    type = Boolean()
    name = "exact_match"
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], text: str, *, any_prefix: bool, any_suffix: bool) -> None:
        like = "".join(f"!{character}" if character in "%_!" else character for character in text)
        glob = "".join(f"[{character}]" if character in "*?[" else character for character in text)
        super().__init__(
            column,
            bindparam(None, f"{'%' if any_prefix else ''}{like}{'%' if any_suffix else ''}", String(), unique=True),
            bindparam(None, f"{'*' if any_prefix else ''}{glob}{'*' if any_suffix else ''}", String(), unique=True),
        )


@compiles(ExactMatch)
def _like(element: ExactMatch, compiler: SQLCompiler, **options: Any) -> str:
    column, like, _ = element.clauses
    return f"({compiler.process(column, **options)} LIKE {compiler.process(like, **options)} ESCAPE '!')"


@compiles(ExactMatch, "sqlite")
def _glob(element: ExactMatch, compiler: SQLCompiler, **options: Any) -> str:
    column, _, glob = element.clauses
    return f"({compiler.process(column, **options)} GLOB {compiler.process(glob, **options)})"


def matches_text(value: str, text: str, *, any_prefix: bool, any_suffix: bool) -> bool:
    """Return what `ExactMatch` says, in memory."""
    if any_prefix and any_suffix:
        return text in value
    if any_prefix:
        return value.endswith(text)
    return value.startswith(text) if any_suffix else value == text
