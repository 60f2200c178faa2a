"""Tables and plans for Hypothesis: nulls, NaN, -0.0, decimals, zones, unicode, many equal keys, no rows at all.

Numbers are such that sums of floats are exact in any order, so that rows can be compared as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from servers.processing.plan.nodes import (
    Aggregate,
    AsOfJoin,
    Column,
    CrossJoin,
    Deduplicate,
    Filter,
    Join,
    JoinKey,
    JoinKind,
    Ordering,
    Project,
    PythonFunction,
    Scan,
    Top,
    TypedColumn,
    Union,
    Window,
    WindowColumn,
)
from servers.processing.plan.plan import Plan, Step, step_inputs
from servers.processing.plan.steps import Encode, EncodedColumn, EncodeKind, Impute, ImputeStrategy, Part, Sample, Split, Unknown

START = datetime(2026, 3, 29, 0, 59, 57, tzinfo=UTC)
SCHEMAS = {
    "events": pa.schema(
        [
            ("key", pa.int32()),
            ("word", pa.string()),
            ("moment", pa.timestamp("us", "UTC")),
            ("value", pa.float64()),
            ("amount", pa.decimal128(10, 2)),
            ("big", pa.int64()),
            ("flag", pa.bool_()),
        ]
    ),
    "facts": pa.schema(
        [("key", pa.int64()), ("word", pa.large_string()), ("moment", pa.timestamp("ms", "Europe/Berlin")), ("score", pa.float32())]
    ),
}
KINDS = {
    "key": "number",
    "word": "text",
    "moment": "time",
    "value": "number",
    "amount": "number",
    "big": "number",
    "flag": "flag",
    "score": "number",
}

_values: dict[str, SearchStrategy[Any]] = {
    "key": st.integers(0, 3),
    "word": st.sampled_from(["", "a", "A", "é", "e\u0301", "日本", "a'\"b", "\U0001f600"]),
    "moment": st.integers(0, 6).map(lambda seconds: START + timedelta(seconds=seconds)),
    "value": st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0, -3.25, float("nan"), float("inf")]),
    "score": st.sampled_from([0.0, -0.0, 0.5, 1.0, 2.0, float("nan")]),
    "amount": st.sampled_from(["0.00", "1.00", "2.00", "1.25", "-99999999.99"]).map(Decimal),
    "big": st.integers(-2, 3) | st.sampled_from([2**62, -(2**62), 2**53 + 1]),
    "flag": st.booleans(),
}


def _table(name: str) -> SearchStrategy[pa.Table]:
    schema = SCHEMAS[name]
    row = st.fixed_dictionaries({field.name: st.none() | _values[field.name] for field in schema})
    return st.lists(row, max_size=14).map(lambda rows: pa.Table.from_pylist(rows, schema=schema))


tables: SearchStrategy[dict[str, pa.Table]] = st.fixed_dictionaries({name: _table(name) for name in SCHEMAS})


class _Growing:
    """A plan that is being drawn: its steps, and the kinds of their columns."""

    def __init__(self, draw: DrawFn) -> None:
        self.draw = draw
        self.steps: list[Step] = []
        self.columns: dict[str, dict[str, str]] = {}
        self.joins = 0
        for name, schema in SCHEMAS.items():
            self.add(Scan(f"scan_{name}", name), {column: KINDS[column] for column in schema.names})

    def add(self, step: Step, columns: dict[str, str]) -> None:
        self.steps.append(step)
        self.columns[step.name] = columns

    def name(self) -> str:
        return f"step_{len(self.steps)}"

    def any_step(self) -> str:
        # Late steps more often, so that plans are deep.
        names = list(self.columns)
        return self.draw(st.sampled_from(names[-2:]) | st.sampled_from(names))

    def some(self, names: Sequence[str], least: int = 1, most: int = 2) -> tuple[str, ...]:
        if not names:
            return ()
        return tuple(self.draw(st.lists(st.sampled_from(list(names)), min_size=least, max_size=min(most, len(names)), unique=True)))

    def of_kind(self, step: str, *kinds: str) -> list[str]:
        return [name for name, kind in self.columns[step].items() if kind in kinds]

    def orderings(self, step: str) -> tuple[Ordering, ...]:
        names = self.some(list(self.columns[step]), 0)
        return tuple(Ordering(name, self.draw(st.booleans()), self.draw(st.booleans())) for name in names)


def _condition(name: str, kind: str) -> list[str]:
    common = [f'"{name}" IS NOT NULL', f'"{name}" IS NULL']
    by_kind = {
        "number": [f'"{name}" > 0', f'"{name}" = 1 OR "{name}" IS NULL', f'"{name}" <> 2'],
        "text": [f"\"{name}\" > 'A'", f"\"{name}\" LIKE '%a%'"],
        "time": [f"\"{name}\" >= TIMESTAMPTZ '2026-03-29 01:00:00+00'"],
        "flag": [f'"{name}"', f'NOT "{name}"'],
        "list": [f'len("{name}") > 1'],
    }
    return common + by_kind[kind]


def _filter(plan: _Growing) -> None:
    step = plan.any_step()
    name, kind = plan.draw(st.sampled_from(list(plan.columns[step].items())))
    plan.add(Filter(plan.name(), step, plan.draw(st.sampled_from(_condition(name, kind)))), plan.columns[step])


def _project(plan: _Growing) -> None:
    step, name = plan.any_step(), plan.name()
    column = plan.some(list(plan.columns[step]))[0]
    kind = plan.columns[step][column]
    expressions = {
        "number": (f'CASE WHEN "{column}" > 1 THEN 1 WHEN "{column}" < 0 THEN -1 ELSE 0 END', "number"),
        "text": (f"upper(\"{column}\") || 'é'", "text"),
        "time": (f"date_trunc('minute', \"{column}\")", "time"),
        "flag": (f'"{column}" IS TRUE', "flag"),
        "list": (f'len("{column}")', "number"),
    }
    text, new_kind = expressions[kind]
    keeps = plan.draw(st.booleans())
    kept = {} if keeps else {each: plan.columns[step][each] for each in plan.some(list(plan.columns[step]), 1, 4)}
    computed = (*(Column(each, f'"{each}"') for each in kept), Column(name, text))
    plan.add(Project(name, step, computed, keeps), {**(plan.columns[step] if keeps else kept), name: new_kind})


def _joined(plan: _Growing, left: str, right: str, suffix: str) -> dict[str, str] | None:
    names = dict(plan.columns[left])
    for name, kind in plan.columns[right].items():
        new = f"{name}{suffix}" if name in plan.columns[left] else name
        if new in names:
            return None
        names[new] = kind
    return names


def _pairs(plan: _Growing, left: str, right: str, *kinds: str) -> list[JoinKey]:
    return [JoinKey(one, other) for kind in kinds for one in plan.of_kind(left, kind) for other in plan.of_kind(right, kind)]


def _join(plan: _Growing) -> None:
    left, right, name = plan.any_step(), plan.any_step(), plan.name()
    pairs, columns = _pairs(plan, left, right, "number", "text", "time", "flag"), _joined(plan, left, right, f"_{name}")
    if not pairs or columns is None or plan.joins == 2:
        return
    plan.joins += 1
    kind = plan.draw(st.sampled_from(JoinKind))
    keys = tuple(plan.draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=2, unique=True)))
    condition = plan.draw(st.sampled_from(["", *(text for each, its in columns.items() for text in _condition(each, its))]))
    without_keys = bool(condition) and plan.draw(st.integers(0, 4)) == 0
    half = kind in (JoinKind.SEMI, JoinKind.ANTI)
    plan.add(Join(name, left, right, () if without_keys else keys, kind, condition, f"_{name}"), plan.columns[left] if half else columns)


def _cross(plan: _Growing) -> None:
    left, name = plan.any_step(), plan.name()
    one_row = Aggregate(f"{name}_all", left, (), (Column(f"{name}_count", "count(*)"),))
    plan.add(one_row, {f"{name}_count": "number"})
    plan.add(CrossJoin(name, left, one_row.name), {**plan.columns[left], f"{name}_count": "number"})


def _as_of(plan: _Growing) -> None:
    left, right, name = plan.any_step(), plan.any_step(), plan.name()
    times, columns = _pairs(plan, left, right, "time"), _joined(plan, left, right, f"_{name}")
    if not times or columns is None:
        return
    keys = (
        plan.draw(st.lists(st.sampled_from(pairs), max_size=2, unique=True))
        if (pairs := _pairs(plan, left, right, "number", "text"))
        else []
    )
    time = plan.draw(st.sampled_from(times))
    tolerance = plan.draw(st.sampled_from([None, 0, 1.5, 3]))
    kind = plan.draw(st.sampled_from([JoinKind.LEFT, JoinKind.INNER]))
    plan.add(
        AsOfJoin(name, left, right, tuple(keys), time.left, time.right, tolerance, plan.draw(st.booleans()), kind, f"_{name}"), columns
    )


def _aggregate(plan: _Growing) -> None:
    step, name = plan.any_step(), plan.name()
    keys = plan.some(list(plan.columns[step]), 0)
    columns, values = {key: plan.columns[step][key] for key in keys}, [Column(f"{name}_n", "count(*)")]
    texts = {
        "number": [
            ("sum({})", "number"),
            ("min({})", "number"),
            ("count(DISTINCT {})", "number"),
            ("avg({})", "number"),
            ("arg_max({0}, {0})", "number"),
        ],
        "text": [("max({})", "text"), ("string_agg({0}, '|' ORDER BY {0} DESC)", "text"), ("any_value({})", "text")],
        "time": [("max({})", "time"), ("first({0} ORDER BY {0})", "time")],
        "flag": [("bool_or({})", "flag"), ("count(*) FILTER (WHERE {})", "number")],
        "list": [("max(len({}))", "number")],
    }
    for place, column in enumerate(plan.some(list(plan.columns[step]), 0)):
        text, kind = plan.draw(st.sampled_from(texts[plan.columns[step][column]]))
        values.append(Column(f"{name}_{place}", text.format(f'"{column}"')))
        columns[values[-1].name] = kind
    columns[values[0].name] = "number"
    plan.add(Aggregate(name, step, tuple(Column(key, f'"{key}"') for key in keys), tuple(values)), columns)


def _window(plan: _Growing) -> None:
    step, name = plan.any_step(), plan.name()
    column = plan.some(list(plan.columns[step]))[0]
    kind = plan.columns[step][column]
    calls = [
        ("row_number()", "", "number"),
        ("rank()", "", "number"),
        ("ntile(2)", "", "number"),
        ("count(*)", "", "number"),
        (f'lag("{column}")', "", kind),
        (f'last_value("{column}")', "", kind),
        (f'first_value("{column}" IGNORE NULLS)', "", kind),
        (f'min("{column}")', "ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING", kind),
        (f'list("{column}")', "", "list"),
        (f'nth_value("{column}", 2)', "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING", kind),
    ]
    call, frame, new_kind = plan.draw(st.sampled_from([each for each in calls if kind != "list" or each[2] != "list"]))
    partition = plan.some(list(plan.columns[step]), 0)
    window = Window(name, step, partition, plan.orderings(step), (WindowColumn(name, call, frame),))
    plan.add(window, {**plan.columns[step], name: new_kind})


def _deduplicate(plan: _Growing) -> None:
    step = plan.any_step()
    plan.add(Deduplicate(plan.name(), step, plan.some(list(plan.columns[step])), plan.orderings(step)), plan.columns[step])


def _top(plan: _Growing) -> None:
    step = plan.any_step()
    limit, offset = plan.draw(st.sampled_from([None, 0, 1, 5])), plan.draw(st.sampled_from([0, 2]))
    plan.add(Top(plan.name(), step, plan.orderings(step), limit, offset), plan.columns[step])


def _union(plan: _Growing) -> None:
    step, name = plan.any_step(), plan.name()
    same = [other for other, columns in plan.columns.items() if list(columns) == list(plan.columns[step])]
    other = plan.draw(st.sampled_from(same))
    plan.add(Union(name, (step, other), plan.draw(st.booleans())), plan.columns[step])


SOURCE = """
import pyarrow as pa

def count_rows(rows):
    return pa.table({"rows": [rows.num_rows], "first": [str(rows.to_pylist()[0]["%s"])]})
"""


def _python(plan: _Growing) -> None:
    step, name = plan.any_step(), plan.name()
    keys = plan.some(plan.of_kind(step, "text", "time", "flag"), 0)
    if keys:
        schema = (TypedColumn("rows", "BIGINT"), TypedColumn("first", "VARCHAR"))
        plan.add(PythonFunction(name, step, SOURCE % keys[0], "count_rows", schema, keys), {"rows": "number", "first": "text"})


def _sampled(plan: _Growing) -> None:
    step, name = plan.any_step(), plan.name()
    keys = plan.some(plan.of_kind(step, "text", "time"), 0)
    if not keys:
        return
    if plan.draw(st.booleans()):
        plan.add(Sample(name, step, 0.5, 7, keys), plan.columns[step])
    else:
        plan.add(Split(name, step, (Part("train", 0.6), Part("test", 0.4)), name, 3, keys), {**plan.columns[step], name: "text"})


def _fitted(plan: _Growing) -> None:
    step, name = plan.any_step(), plan.name()
    if words := plan.of_kind(step, "text"):
        columns = dict(plan.columns[step])
        if plan.draw(st.booleans()):
            plan.add(Impute(name, step, (words[0],), ImputeStrategy.MOST_FREQUENT), columns)
        else:
            plan.add(Encode(name, step, (EncodedColumn(words[0]),), EncodeKind.ORDINAL, Unknown.OTHER), {**columns, words[0]: "number"})


_STEPS = [
    _filter,
    _project,
    _join,
    _join,
    _cross,
    _as_of,
    _as_of,
    _aggregate,
    _aggregate,
    _window,
    _deduplicate,
    _top,
    _union,
    _python,
    _sampled,
    _fitted,
]


@st.composite
def plans(draw: DrawFn) -> Plan:
    """A plan of up to six steps over both inputs; what nothing reads is an output, and one step that is read, too."""
    plan = _Growing(draw)
    for step in draw(st.lists(st.sampled_from(_STEPS), min_size=1, max_size=6)):
        step(plan)
    read = {name for step in plan.steps for name in step_inputs(step)}
    outputs = [step.name for step in plan.steps if step.name not in read]
    outputs += draw(st.lists(st.sampled_from(sorted(read)), max_size=1)) if read else []
    return Plan(tuple(draw(st.permutations(plan.steps))), tuple(outputs))
