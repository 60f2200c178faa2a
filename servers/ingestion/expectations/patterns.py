r"""Regular expressions and LIKE patterns, in the dialect that runs in linear time.

Polars matches with Rust's `regex`: no input makes it slow, and in return it has no look-around and no back-references, which are refused
when the suite is read. Two more differences from Python: `$` is only the very end of the text, and `\Z` is written `\z`.
"""

from __future__ import annotations

import re

import polars as pl

from servers.ingestion.expectations import limits
from servers.ingestion.expectations.arguments import listed


def regex(value: object) -> str:
    """Accept a regular expression that the engine compiles."""
    pattern = _bounded(value)
    try:
        pl.select(pl.lit("").str.contains(pattern, strict=True))
    except pl.exceptions.ComputeError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        cause = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[0])
        raise ValueError(f"a regular expression of Rust's linear-time dialect; {cause}") from None
    return pattern


def like_pattern(value: object) -> str:
    """Accept a LIKE pattern."""
    return _bounded(value)


def escape_character(value: object) -> str:
    """Accept the character after which `%` and `_` stand for themselves."""
    if not isinstance(value, str) or len(value) != 1 or value in "%_":
        raise ValueError("one character other than % and _")
    return value


regexes = listed(regex, limits.MAX_PATTERNS, least=1)
like_patterns = listed(like_pattern, limits.MAX_PATTERNS, least=1)


def regex_of_like(pattern: str, escape: str | None) -> str:
    """Return the regular expression of a LIKE pattern: `%` is any text, `_` any character, and the whole value has to match."""
    parts: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            parts.append(re.escape(next(characters, character)))
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
    return f"(?s)^{''.join(parts)}$"


def _bounded(value: object) -> str:
    if not isinstance(value, str) or len(value) > limits.MAX_PATTERN_CHARACTERS:
        raise ValueError(f"a pattern of at most {limits.MAX_PATTERN_CHARACTERS} characters")
    return value
