"""DuckDB's own parser: SQL text to a syntax tree and back.

A tree is the JSON of `json_serialize_sql`: nested dictionaries with `class`, `type` and, in bytes from the beginning, `query_location`.
What runs is text that DuckDB wrote from the tree that was checked, so comments, quotes and brackets cannot smuggle anything past the check.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import duckdb

from servers.runtime.duckdb_session import thread_session

Tree = dict[str, Any]

_NOWHERE = 2**64 - 1
_PREFIX = "SELECT "
_TO_TREE, _TO_TEXT = "to_tree", "to_text"
_PREPARED = (f"PREPARE {_TO_TREE} AS SELECT json_serialize_sql($1)", f"PREPARE {_TO_TEXT} AS SELECT json_deserialize_sql($1)")
_local = threading.local()


class NestedTooDeeply(Exception):
    """A text or tree is nested more deeply than DuckDB reads and writes: some 80 levels."""


class NotParsed(Exception):
    """A text that DuckDB does not parse, or that is no SELECT.

    Args:
        message: DuckDB's words.
        place: Where, in bytes; None if unknown.
        is_other_statement: Whether it is SQL, but not a SELECT.
    """

    def __init__(self, message: str, place: int | None, is_other_statement: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
        self.is_other_statement = is_other_statement


def statements(text: str) -> list[Tree]:
    """Returns the tree of each statement of a text.

    Raises:
        NotParsed: One is not a SELECT, or none at all.
        NestedTooDeeply: It has too many levels.
    """
    parsed = json.loads(_evaluated(_TO_TREE, text))
    if parsed["error"]:
        if "expression depth" in parsed["error_message"]:
            raise NestedTooDeeply
        place = parsed.get("position")
        other = parsed["error_type"] == "not implemented"
        raise NotParsed(parsed["error_message"], None if place is None else int(place), other)
    return [statement["node"] for statement in parsed["statements"]]


def expression_text(expression: Tree) -> str:
    """Returns an expression as DuckDB writes it, without its alias.

    Raises:
        NestedTooDeeply: It has too many levels.
    """
    node = {**_EMPTY_SELECT, "select_list": [{**expression, "alias": ""}]}
    tree = json.dumps({"error": False, "statements": [{"node": node, "named_param_map": []}]})
    return _evaluated(_TO_TEXT, tree).removeprefix(_PREFIX)


def single_expression(text: str) -> Tree | None:
    """Returns the tree of a text that is exactly one expression, or None. Locations count from the beginning of the text.

    Raises:
        NotParsed: It is no SQL.
    """
    try:
        found = statements(_PREFIX + text)
    except NotParsed as error:
        place = None if error.place is None else max(error.place - len(_PREFIX), 0)
        raise NotParsed(error.message, place, error.is_other_statement) from None
    if len(found) != 1 or len(found[0].get("select_list", ())) != 1:
        return None
    node = found[0]
    expression: Tree = node["select_list"][0]
    if expression["alias"] or _without_locations({**node, "select_list": []}) != _without_locations(_EMPTY_SELECT):
        return None
    _shift(expression, -len(_PREFIX))
    return expression


def location(tree: Tree) -> int | None:
    """Where in the text a tree begins, in bytes; None if it is not in the text."""
    place = tree.get("query_location", _NOWHERE)
    return None if place < 0 or place >= _NOWHERE - len(_PREFIX) else int(place)


def line_and_column(text: str, place: int | None) -> tuple[int, int] | None:
    """The line and the character of it, both from 1, of a place in bytes."""
    if place is None:
        return None
    before = text.encode()[:place].decode(errors="ignore")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def comparable(tree: Tree) -> str:
    """A text that is equal for trees which mean the same: without places and aliases."""
    return json.dumps(_without_locations({**tree, "alias": ""}), sort_keys=True)


def children(tree: Tree) -> Iterator[Tree]:
    """The trees directly below a tree, in the order of the text."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield value
        elif isinstance(value, list):
            for each in value:
                if isinstance(each, dict):
                    yield each
                elif isinstance(each, list):
                    yield {key: each}


def function_name(tree: Tree) -> str:
    """Name of a function or window call, in lower case."""
    return str(tree["function_name"]).lower()


def column_reference(name: str) -> Tree:
    """The tree of a column's name."""
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": _NOWHERE, "column_names": [name]}


def function_call(name: str, arguments: list[Tree]) -> Tree:
    """The tree of a call."""
    return {
        "class": "FUNCTION",
        "type": "FUNCTION",
        "alias": "",
        "query_location": _NOWHERE,
        "function_name": name,
        "schema": "",
        "catalog": "",
        "filter": None,
        "order_bys": {"type": "ORDER_MODIFIER", "orders": []},
        "distinct": False,
        "is_operator": False,
        "export_state": False,
        "arguments": [{"name": "", "expression": argument} for argument in arguments],
        "qualified_name": {"path": [name]},
        "is_legacy_function_call": False,
    }


def text_constant(text: str) -> Tree:
    """The tree of a text in quotes."""
    return {
        "class": "CONSTANT",
        "type": "VALUE_CONSTANT",
        "alias": "",
        "query_location": _NOWHERE,
        "literal": {"kind": "STRING", "text": text},
    }


def ordering(expression: Tree, is_descending: bool = False, is_nulls_first: bool = False) -> Tree:
    """The tree of one part of an ORDER BY."""
    return {
        "type": "DESCENDING" if is_descending else "ASCENDING",
        "null_order": "NULLS FIRST" if is_nulls_first else "NULLS LAST",
        "expression": expression,
    }


_EMPTY_SELECT: Tree = {
    "type": "SELECT_NODE",
    "modifiers": [],
    "cte_map": {"map": []},
    "select_list": [],
    "from_table": {"type": "EMPTY", "alias": "", "sample": None, "query_location": _NOWHERE, "query_location_length": 0},
    "where_clause": None,
    "group_expressions": [],
    "group_sets": [],
    "aggregate_handling": "STANDARD_HANDLING",
    "having": None,
    "sample": None,
    "qualify": None,
}


def _without_locations(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_locations(each) for key, each in value.items() if not key.startswith("query_location")}
    return [_without_locations(each) for each in value] if isinstance(value, list) else value


def _shift(value: Any, by: int) -> None:
    if isinstance(value, dict):
        if location(value) is not None:
            value["query_location"] += by
        for each in value.values():
            _shift(each, by)
    elif isinstance(value, list):
        for each in value:
            _shift(each, by)


def _evaluated(statement: str, text: str) -> str:
    """Executes a statement of `_PREPARED`: finding the function anew each time takes longer than parsing an expression."""
    connection = thread_session()
    if getattr(_local, "prepared_by", None) is not connection:
        for prepare in _PREPARED:
            connection.execute(prepare)
        _local.prepared_by = connection
    try:
        ((value,),) = connection.execute(f"EXECUTE {statement}({_literal(text)})").fetchall()
    except duckdb.SerializationException:
        raise NestedTooDeeply from None
    return str(value)


def _literal(text: str) -> str:
    """A text in quotes, as EXECUTE takes it, which has no parameters of its own."""
    quoted = "'" + text.replace("'", "''") + "'"
    return quoted.replace("\0", "' || chr(0) || '")
