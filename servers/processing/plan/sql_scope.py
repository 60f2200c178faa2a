"""What names of a SELECT mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from servers.processing.plan.errors import AmbiguousColumn, InvalidPlan, UnknownColumn, UnsupportedSql, VolatileFunction, near, shown
from servers.processing.plan.expressions import is_lambda, of_place, parameters, with_fields
from servers.processing.plan.functions import VOLATILE_NAMES
from servers.runtime.sql_names import folded
from servers.runtime.sql_trees import Tree, column_reference, comparable

DIRECT = "\x1f"
"""Stands before the name of a node's own column, for what `*` means."""


@dataclass(frozen=True)
class ScopeColumn:
    """A column that a SELECT can name.

    Args:
        qualifier: Alias of the relation; None for the column that USING makes of two.
        name: As the SELECT knows it.
        column: As the node has it.
        is_plain: Whether it is meant without a qualifier, and is in `*`.
    """

    qualifier: str | None
    name: str
    column: str
    is_plain: bool = True


@dataclass(frozen=True)
class Relation:
    """What a FROM clause, or a part of it, is.

    Args:
        node: Name of the step.
        columns: What can be named.
        node_columns: All columns of the step.
    """

    node: str
    columns: tuple[ScopeColumn, ...]
    node_columns: tuple[str, ...]

    def of_step(self, node: str, more_columns: Iterable[str] = ()) -> Relation:
        """The same with the rows of another step, which has further columns that cannot be named."""
        return replace(self, node=node, node_columns=(*self.node_columns, *more_columns))

    def has(self, path: tuple[str, ...]) -> bool:
        """Says whether a name means something here."""
        return bool(self._found(path)[0])

    def spelled(self, path: tuple[str, ...]) -> str:
        """The name of what a name means, as the column itself is spelled."""
        found, fields = self._found(path)
        return found[0].name if len(found) == 1 and not fields else path[-1]

    def resolved(self, path: tuple[str, ...], tree: Tree) -> Tree:
        """The tree of what a name means.

        Raises:
            PlacedError: It means nothing, or several things.
        """
        found, fields = self._found(path)
        if len(found) == 1:
            return with_fields(column_reference(found[0].column), fields)
        name = shown(".".join(path))
        if found:
            owners = " or ".join(shown(f"{each.qualifier}.{each.name}") for each in found)
            raise of_place(AmbiguousColumn(f"{name} may be {owners}; write which"), tree)
        raise of_place(self._unknown(path), tree)

    def _found(self, path: tuple[str, ...]) -> tuple[list[ScopeColumn], tuple[str, ...]]:
        if path[0] == DIRECT:
            return [each for each in self.columns if each.column == path[1]][:1], path[2:]
        first = folded(path[0])
        if len(path) > 1:
            second = folded(path[1])
            qualified = [
                each
                for each in self.columns
                if each.qualifier is not None and folded(each.qualifier) == first and folded(each.name) == second
            ]
            if qualified:
                return qualified, path[2:]
        return [each for each in self.columns if each.is_plain and folded(each.name) == first], path[1:]

    def _unknown(self, path: tuple[str, ...]) -> InvalidPlan:
        if len(path) == 1 and folded(path[0]) in VOLATILE_NAMES:
            return VolatileFunction(f"{path[0]} changes from run to run; bring the value in as a column")
        owned = [each.name for each in self.columns if each.qualifier is not None and folded(each.qualifier) == folded(path[0])]
        if len(path) > 1 and owned:
            return UnknownColumn(f"{shown(path[0])} has no column {shown(path[1])}{near(path[1], owned)}")
        names = dict.fromkeys(each.name for each in self.columns if each.is_plain)
        return UnknownColumn(f"there is no column {shown('.'.join(path))}{near(path[-1], names)}")


def references(tree: Tree, lambda_names: frozenset[str] = frozenset()) -> Iterator[tuple[tuple[str, ...], Tree]]:
    """Every name in an expression that is not the parameter of a lambda."""
    if tree.get("class") == "COLUMN_REF":
        if folded(tree["column_names"][0]) not in lambda_names:
            yield tuple(tree["column_names"]), tree
        return
    for key, value in tree.items():
        for each in value if isinstance(value, list) else (value,):
            if isinstance(each, dict):
                yield from _references_in(key, each, lambda_names)


def _references_in(key: str, value: Tree, lambda_names: frozenset[str]) -> Iterator[tuple[tuple[str, ...], Tree]]:
    expression = value.get("expression") if key == "arguments" else None
    if expression is not None and is_lambda(expression):
        yield from references(expression["expr"], lambda_names | parameters(expression["lhs"]))
    else:
        yield from references(value, lambda_names)


def with_aliases(tree: Tree, relation: Relation, aliases: Mapping[str, Tree], *, prefers_columns: bool) -> Tree:
    """Puts the expressions of a select list in the place of their names.

    Args:
        tree: An expression.
        relation: What the FROM clause is; its columns come first.
        aliases: Expressions by their folded names.
        prefers_columns: Whether that is so in this clause for DuckDB, too; otherwise a name that is both is refused.

    Raises:
        PlacedError: A name is a column and the name of something else.
    """
    replaced: dict[int, Tree] = {}
    for path, reference in references(tree):
        alias = aliases.get(folded(path[0])) if len(path) == 1 else None
        if alias is None:
            continue
        if not relation.has(path):
            replaced[id(reference)] = alias
        elif not prefers_columns and not _is_same(alias, reference, relation):
            raise of_place(
                AmbiguousColumn(f"{shown(path[0])} is a column and the name of another expression; write the column with its relation"),
                reference,
            )
    return _replaced(tree, replaced) if replaced else tree


def _is_same(alias: Tree, reference: Tree, relation: Relation) -> bool:
    if alias["class"] != "COLUMN_REF":
        return False
    path = tuple(alias["column_names"])
    return relation.has(path) and comparable(relation.resolved(path, alias)) == comparable(
        relation.resolved(tuple(reference["column_names"]), reference)
    )


def _replaced(tree: Tree, replaced: Mapping[int, Tree]) -> Tree:
    if id(tree) in replaced:
        return {**replaced[id(tree)], "alias": tree.get("alias", "")}
    copied: Tree = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            copied[key] = _replaced(value, replaced)
        elif isinstance(value, list):
            copied[key] = [_replaced(each, replaced) if isinstance(each, dict) else each for each in value]
        else:
            copied[key] = value
    return copied


def unsupported(tree: Tree, construct: str, instead: str) -> Exception:
    """An error about a construct that plans do not know."""
    return of_place(UnsupportedSql(f"{construct} is not supported; {instead}"), tree)
