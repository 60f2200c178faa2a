"""On-demand features as SQL: one text, which DuckDB evaluates when features are served, and a processing job for training sets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.online import feature_type
from servers.runtime.sql_names import folded

__all__ = ["sql_type", "steps_of", "words_of"]

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TYPES = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "string": "VARCHAR",
    "bytes": "BLOB",
}


def sql_type(type_name: str) -> str:
    """Returns a feature's type as DuckDB and plans of processing write it.

    Raises:
        InvalidFeatureSchema: It is no type of a feature.
    """
    name = feature_type(type_name).name
    if name.startswith("list<"):
        return _TYPES[name.removeprefix("list<").removesuffix(">")] + "[]"
    return name.replace("decimal", "DECIMAL") if name.startswith("decimal") else _TYPES[name]


def steps_of(on_demand: Sequence[pb.OnDemandFeature]) -> list[dict[str, str]]:
    """Returns the projections that compute on-demand features, one behind the other; each keeps all columns that it finds.

    A feature comes behind those before it that its expression mentions. The expressions have been checked: each is one expression alone.

    Returns:
        Expressions by the name of the feature that they compute.

    Raises:
        InvalidFeatureSchema: A feature has no type of a feature.
    """
    levels: dict[str, int] = {}
    steps: list[dict[str, str]] = []
    for feature in on_demand:
        level = 1 + max((levels[word] for word in words_of([feature.expression]) if word in levels), default=-1)
        levels[folded(feature.name)] = level
        if level == len(steps):
            steps.append({})
        # The lines of their own keep a comment at the end of the expression from taking the rest.
        steps[level][feature.name] = f"CAST((\n{feature.expression}\n) AS {sql_type(feature.type)})"
    return steps


def words_of(expressions: Iterable[str]) -> set[str]:
    """Returns everything in expressions that may be the name of a feature or an input, folded; also what is a function, or in a text."""
    return {folded(word) for expression in expressions for word in _WORD.findall(expression)}
