"""FROM clauses: inputs, common table expressions, subqueries and joins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from servers.processing.plan.errors import InvalidSql, UnknownColumn, UnknownInput, near, shown
from servers.processing.plan.expressions import Names, checked, comparable_name, of_place
from servers.processing.plan.nodes import AsOfJoin, Column, CrossJoin, Join, JoinKey, JoinKind, Project, Scan
from servers.processing.plan.selects import joined_names
from servers.processing.plan.sql_scope import Relation, ScopeColumn, references, unsupported
from servers.processing.plan.sql_steps import StepWriter
from servers.runtime.sql_names import folded, quoted
from servers.runtime.sql_trees import Tree, expression_text

Tables = Mapping[str, Callable[[], Relation]]
"""What names in a FROM clause mean, folded: common table expressions, read when they are first used."""

_OTHER_RELATIONS = {
    "EMPTY": ("a SELECT without FROM", "select from an input"),
    "TABLE_FUNCTION": ("a table function", "make the rows an input of the job"),
    "EXPRESSION_LIST": ("VALUES", "make the rows an input of the job"),
    "PIVOT": ("PIVOT", "aggregate with FILTER, one column a value"),
    "SHOW_REF": ("DESCRIBE, SHOW or SUMMARIZE", "select from an input"),
    "BOX_RENDERER": ("this relation", "select from an input"),
}
_KINDS = {"INNER": JoinKind.INNER, "LEFT": JoinKind.LEFT, "RIGHT": JoinKind.RIGHT, "OUTER": JoinKind.FULL, "FULL": JoinKind.FULL,
          "SEMI": JoinKind.SEMI, "ANTI": JoinKind.ANTI}  # fmt: skip


@dataclass(frozen=True)
class FromReader:
    """Reads FROM clauses.

    Args:
        steps: Gets the steps.
        sources: Names of the inputs' columns.
        subquery: Reads a SELECT within: its tree and what its names mean, to relation.
    """

    steps: StepWriter
    sources: Mapping[str, Sequence[str]]
    subquery: Callable[[Tree, Tables], Relation]

    def relation(self, tree: Tree, tables: Tables) -> Relation:
        """Returns what a FROM clause is.

        Raises:
            PlacedError: It is something that plans do not know, or names what is not there.
        """
        if tree.get("sample") is not None:
            raise unsupported(tree, "TABLESAMPLE", "use a Sample step, which takes the same rows every time")
        match tree["type"]:
            case "BASE_TABLE":
                return self._table(tree, tables)
            case "SUBQUERY":
                return _named(self.subquery(tree["subquery"]["node"], tables), tree, tree["alias"] or None)
            case "JOIN":
                return self._join(tree, tables)
            case other:
                construct, instead = _OTHER_RELATIONS.get(other, (f"a relation {other}", "select from an input"))
                raise unsupported(tree, construct, instead)

    def _table(self, tree: Tree, tables: Tables) -> Relation:
        path = tree["qualified_name"]["path"]
        if len(path) != 1:
            raise unsupported(tree, "a name with a schema", "inputs have plain names")
        if tree["at_clause"] is not None:
            raise unsupported(tree, "AT", "choose the version where the job names its inputs")
        name = path[0]
        if folded(name) in tables:
            return _named(tables[folded(name)](), tree, tree["alias"] or name)
        source = {folded(each): each for each in self.sources}.get(folded(name))
        if source is None:
            raise of_place(UnknownInput(f"there is no input {shown(name)}{near(name, self.sources)}"), tree)
        columns = tuple(self.sources[source])
        node = self.steps.add(Scan(self.steps.name(source), source))
        return _named(Relation(node, tuple(ScopeColumn(None, each, each) for each in columns), columns), tree, tree["alias"] or name)

    def _join(self, tree: Tree, tables: Tables) -> Relation:
        if tree["ref_type"] not in ("REGULAR", "CROSS", "NATURAL", "ASOF"):
            raise unsupported(tree, f"a {tree['ref_type']} join", "join by keys; rows have no positions")
        kind = _KINDS.get(tree["join_type"])
        if kind is None:
            raise unsupported(tree, f"a {tree['join_type']} join", f"there are {', '.join(each.value for each in JoinKind)}")
        left, right = self.relation(tree["left"], tables), self.relation(tree["right"], tables)
        if tree["ref_type"] == "CROSS":
            joined = _Joined.of(left, right)
            node = self.steps.add(CrossJoin(self.steps.name("cross_join"), left.node, right.node, joined.suffix))
            return joined.relation(node, JoinKind.INNER)
        using = tuple(tree["using_columns"]) if tree["ref_type"] != "NATURAL" else _common(tree, left, right)
        if tree["ref_type"] == "ASOF":
            return self._as_of_join(tree, kind, left, right, using)
        return self._keyed_join(tree, kind, left, right, using)

    def _keyed_join(self, tree: Tree, kind: JoinKind, left: Relation, right: Relation, using: tuple[str, ...]) -> Relation:
        keys = _Keys(self.steps, left, right)
        others = [each for each in _conjuncts(tree["condition"]) if not keys.add(each)]
        for name in using:
            keys.add_using(name, tree)
        left, right = keys.sides()
        joined = _Joined.of(left, right)
        both = joined.relation("", JoinKind.INNER)
        condition = " AND ".join(f"({expression_text(checked(each, both.resolved, allows_aggregates=False))})" for each in others)
        node = self.steps.add(Join(self.steps.name("join"), left.node, right.node, tuple(keys.keys), kind, condition, joined.suffix))
        return self._merged(joined.relation(node, kind), left, kind, using, joined)

    def _as_of_join(self, tree: Tree, kind: JoinKind, left: Relation, right: Relation, using: tuple[str, ...]) -> Relation:
        if kind not in (JoinKind.INNER, JoinKind.LEFT):
            raise unsupported(tree, f"an ASOF {kind.value} join", "use ASOF JOIN or ASOF LEFT JOIN")
        keys, times, is_strict = _Keys(self.steps, left, right), None, False
        for each in _conjuncts(tree["condition"]):
            if keys.add(each):
                continue
            found = keys.newest(each)
            if found is None or times is not None:
                raise unsupported(
                    each,
                    "this condition of an ASOF join",
                    "give equalities and one `left.time >= right.time` (or `>`); filter the rest before",
                )
            times, is_strict = found
        for name in using[:-1]:
            keys.add_using(name, tree)
        if using:
            times = keys.using_columns(using[-1], tree)
        if times is None:
            raise unsupported(tree, "an ASOF join without times", "add `left.time >= right.time`")
        left, right = keys.sides()
        joined = _Joined.of(left, right)
        step = AsOfJoin(
            self.steps.name("as_of_join"),
            left.node,
            right.node,
            tuple(keys.keys),
            *times,
            is_strict=is_strict,
            kind=kind,
            right_suffix=joined.suffix,
        )
        return self._merged(joined.relation(self.steps.add(step), kind), left, kind, using, joined)

    def _merged(self, relation: Relation, left: Relation, kind: JoinKind, using: tuple[str, ...], joined: _Joined) -> Relation:
        """Makes one column of the two that USING names."""
        if not using or kind in (JoinKind.SEMI, JoinKind.ANTI):
            return relation
        merged: dict[str, str] = {}
        computed = []
        for name in using:
            left_column, right_column = joined.column(0, name), joined.column(1, name)
            merged[folded(name)] = {JoinKind.RIGHT: right_column, JoinKind.FULL: self.steps.column("using")}.get(kind, left_column)
            if kind is JoinKind.FULL:
                computed.append(Column(merged[folded(name)], f"coalesce({quoted(left_column)}, {quoted(right_column)})"))
        if computed:
            project = Project(self.steps.name("using"), relation.node, tuple(computed), keeps_others=True)
            relation = relation.of_step(self.steps.add(project), (column.name for column in computed))
        columns: list[ScopeColumn] = []
        for place, each in enumerate(relation.columns):
            is_merged = each.is_plain and folded(each.name) in merged
            if is_merged and place < len(left.columns):
                columns.append(ScopeColumn(None, each.name, merged[folded(each.name)]))
            columns.append(replace(each, is_plain=False) if is_merged else each)
        return replace(relation, columns=tuple(columns))


@dataclass
class _Joined:
    """Two relations side by side, and what the right one's columns are named then."""

    left: Relation
    right: Relation
    suffix: str
    renamed: Mapping[str, str]

    @staticmethod
    def of(left: Relation, right: Relation) -> _Joined:
        names, number = Names.of(left.node_columns), 2
        while True:
            renamed = joined_names(names, Names.of(right.node_columns), f"_{number}")
            if len({folded(each) for each in (*left.node_columns, *renamed.values())}) == len(left.node_columns) + len(renamed):
                return _Joined(left, right, f"_{number}", renamed)
            number += 1

    def relation(self, node: str, kind: JoinKind) -> Relation:
        if kind in (JoinKind.SEMI, JoinKind.ANTI):
            return replace(self.left, node=node)
        columns = (*self.left.columns, *(replace(each, column=self.renamed[each.column]) for each in self.right.columns))
        return Relation(node, columns, (*self.left.node_columns, *self.renamed.values()))

    def column(self, side: int, name: str) -> str:
        relation = (self.left, self.right)[side]
        column = next(each.column for each in relation.columns if each.is_plain and folded(each.name) == folded(name))
        return self.renamed[column] if side else column


class _Keys:
    """Columns of two sides that have to be equal; those that are expressions are computed before."""

    def __init__(self, steps: StepWriter, left: Relation, right: Relation) -> None:
        self._steps = steps
        self._sides = [left, right]
        self._computed: list[list[Column]] = [[], []]
        self.keys: list[JoinKey] = []

    def add(self, condition: Tree) -> bool:
        """Takes a condition that is an equality of both sides, and says whether it is one."""
        if condition["class"] != "COMPARISON" or condition["type"] != "COMPARE_EQUAL":
            return False
        found = self._both(condition)
        if found is None:
            return False
        self.keys.append(JoinKey(*found[:2]))
        return True

    def newest(self, condition: Tree) -> tuple[tuple[str, str], bool] | None:
        """The times of `left >= right`, written either way, and whether it is `>`."""
        if condition["class"] != "COMPARISON":
            return None
        found = self._both(condition)
        operator = condition["type"].removeprefix("COMPARE_")
        if found is None or operator not in (("LESSTHAN", "LESSTHANOREQUALTO") if found[2] else ("GREATERTHAN", "GREATERTHANOREQUALTO")):
            return None
        return found[:2], not operator.endswith("OREQUALTO")

    def add_using(self, name: str, tree: Tree) -> None:
        self.keys.append(JoinKey(*self.using_columns(name, tree)))

    def using_columns(self, name: str, tree: Tree) -> tuple[str, str]:
        left, right = (self._using(side, name, tree) for side in (0, 1))
        return left, right

    def sides(self) -> tuple[Relation, Relation]:
        """Both relations with the columns that had to be computed."""
        for place, computed in enumerate(self._computed):
            if computed:
                side = self._sides[place]
                project = Project(self._steps.name("keys"), side.node, tuple(computed), keeps_others=True)
                self._sides[place] = side.of_step(self._steps.add(project), (column.name for column in computed))
                self._computed[place] = []
        return self._sides[0], self._sides[1]

    def _both(self, condition: Tree) -> tuple[str, str, bool] | None:
        """The columns of the left and the right side, and whether they are written the other way round."""
        sides = [self._side_of(condition["left"]), self._side_of(condition["right"])]
        if sorted(each for each in sides if each is not None) != [0, 1]:
            return None
        columns = {side: self._column(condition[key], side) for side, key in zip(sides, ("left", "right"), strict=True) if side is not None}
        return columns[0], columns[1], sides == [1, 0]

    def _side_of(self, tree: Tree) -> int | None:
        """The side that has all names of an expression; None if it has none, or needs both."""
        found = {(self._sides[0].has(path), self._sides[1].has(path)) for path, _ in references(tree)}
        return {(True, False): 0, (False, True): 1}.get(next(iter(found))) if len(found) == 1 else None

    def _column(self, tree: Tree, side: int) -> str:
        resolved = checked(tree, self._sides[side].resolved, allows_aggregates=False)
        if comparable_name(resolved):
            return comparable_name(resolved)
        text = expression_text(resolved)
        known = next((column.name for column in self._computed[side] if column.expression == text), None)
        if known is None:
            known = self._steps.column("key")
            self._computed[side].append(Column(known, text))
        return known

    def _using(self, side: int, name: str, tree: Tree) -> str:
        if not self._sides[side].has((name,)):
            which = "right" if side else "left"
            names = [each.name for each in self._sides[side].columns if each.is_plain]
            raise of_place(UnknownColumn(f"USING: the {which} side has no column {shown(name)}{near(name, names)}"), tree)
        return comparable_name(self._sides[side].resolved((name,), tree))


def _named(relation: Relation, tree: Tree, alias: str | None) -> Relation:
    """A relation under the name that a FROM clause gives it."""
    plain = [each for each in relation.columns if each.is_plain]
    names = tree["column_name_alias"]
    if len(names) > len(plain):
        raise of_place(InvalidSql(f"{len(names)} column names for {len(plain)} columns"), tree)
    named = [*names, *(each.name for each in plain[len(names) :])]
    columns = tuple(ScopeColumn(alias, name, each.column) for name, each in zip(named, plain, strict=True))
    return replace(relation, columns=columns)


def _common(tree: Tree, left: Relation, right: Relation) -> tuple[str, ...]:
    names = {folded(each.name) for each in right.columns if each.is_plain}
    common = tuple(each.name for each in left.columns if each.is_plain and folded(each.name) in names)
    if not common:
        raise of_place(InvalidSql("a NATURAL JOIN of relations that have no column in common; write ON or USING"), tree)
    return common


def _conjuncts(tree: Tree | None) -> list[Tree]:
    if tree is None:
        return []
    if tree["class"] == "CONJUNCTION" and tree["type"] == "CONJUNCTION_AND":
        return [part for child in tree["children"] for part in _conjuncts(child)]
    return [tree]
