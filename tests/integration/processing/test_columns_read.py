"""What a plan gives does not depend on columns that it is said not to read."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.processing.engines.columns_read import columns_read
from servers.processing.engines.engine import Engine
from servers.processing.engines.local import LocalEngine
from servers.processing.plan.binding import bind
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.nodes import Column as Computed
from servers.processing.plan.nodes import Project, PythonFunction, Scan, TypedColumn
from servers.processing.plan.plan import Plan
from servers.processing.plan.sql import plan_of_sql
from servers.runtime.errors import DomainError
from servers.runtime.sql_names import quoted
from tests.integration.processing.plans import SCHEMAS, plans, tables
from tests.integration.processing.relations import LIMITS, Tables, partitioned, results, rows_of

ENGINES = [LocalEngine(LIMITS), partitioned(3)]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(plan=plans(), inputs=tables, engine=st.sampled_from(ENGINES))
def test_rows_are_the_same_without_what_is_not_read(plan: Plan, inputs: Tables, engine: Engine) -> None:
    bound = bind(plan, SCHEMAS)
    columns = columns_read(bound)
    some = {name: _only(inputs[name], columns[name]) for name in columns}

    assert _outcome(engine, bound, some) == _outcome(engine, bound, {name: inputs[name] for name in columns})


EVENTS, FACTS = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.float64())]), pa.schema([("x", pa.int64()), ("y", pa.string())])


@pytest.mark.parametrize(
    ("sql", "read"),
    [
        ("SELECT a, sum(c) AS s FROM events GROUP BY a", {"events": ("a", "c")}),
        ("SELECT b FROM events WHERE c > 1", {"events": ("b", "c")}),
        ("SELECT count(*) AS n FROM events", {"events": ("a",)}),
        ("SELECT * FROM events", {"events": ("a", "b", "c")}),
        ("SELECT b FROM events WHERE false", {"events": ("a", "b", "c")}),
        ("SELECT e.a FROM events e JOIN facts f ON e.a = f.x", {"events": ("a",), "facts": ("x",)}),
        ("SELECT a FROM (SELECT a, upper(b) AS unused FROM events)", {"events": ("a",)}),
    ],
)
def test_only_what_outputs_depend_on_is_read(sql: str, read: dict[str, tuple[str, ...]]) -> None:
    schemas = {"events": EVENTS, "facts": FACTS}
    plan = plan_of_sql(sql, {name: schema.names for name, schema in schemas.items()}, PlanLimits())
    assert columns_read(bind(plan, schemas)) == read


@pytest.mark.parametrize(
    "name",
    ["Group", "distance in km", 'a"b', "select", "ünï", "a\tb", "x.y", "1st", "a'b", "back\\slash", "  pad ", "a,b", "rowid", "%", "🦌"],
)
def test_names_are_understood_whatever_is_in_them(name: str) -> None:
    schema = pa.schema([("b", pa.int64()), (name, pa.int64()), ("a", pa.int64())])
    step = Project("made", "rows", (Computed("o", quoted(name) + " + 1"),))
    assert columns_read(bind(Plan((Scan("rows", "events"), step), ("made",)), {"events": schema})) == {"events": (name,)}


def test_where_a_name_has_lines_all_columns_are_read() -> None:
    schema = pa.schema([("a\nb", pa.int64()), ("a", pa.int64()), ("b", pa.int64()), ("c", pa.int64())])
    step = Project("made", "rows", (Computed("o", quoted("a\nb")),))
    assert columns_read(bind(Plan((Scan("rows", "events"), step), ("made",)), {"events": schema})) == {"events": tuple(schema.names)}


def test_of_very_many_columns_none_is_forgotten() -> None:
    schema = pa.schema([(f"column_{number}", pa.int64()) for number in range(1200)])
    wanted = tuple(schema.names[::2])
    step = Project("made", "rows", (Computed("o", " + ".join(map(quoted, wanted[:50]))), *(Computed(name, name) for name in wanted[50:])))
    assert columns_read(bind(Plan((Scan("rows", "events"), step), ("made",)), {"events": schema})) == {"events": wanted}


def test_a_python_function_reads_all_that_it_is_given_and_is_not_called() -> None:
    steps = (
        Scan("rows", "events"),
        Project("some", "rows", (Computed("a", "a"), Computed("c", "c"))),
        PythonFunction("made", "some", "def made(rows):\n    raise RuntimeError\n", "made", (TypedColumn("n", "BIGINT"),)),
    )
    assert columns_read(bind(Plan(steps, ("made",)), {"events": EVENTS})) == {"events": ("a", "c")}
    after = Project("after", "made", (Computed("m", "n + 1"),))
    assert columns_read(bind(Plan((*steps, after), ("after",)), {"events": EVENTS})) == {"events": ("a", "c")}


def _only(table: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """A table whose other columns are null."""
    arrays = [table[field.name] if field.name in columns else pa.nulls(table.num_rows, field.type) for field in table.schema]
    return pa.Table.from_arrays(arrays, schema=table.schema)


def _outcome(engine: Engine, bound: object, inputs: Tables) -> object:
    """The rows of all outputs, or the reason for which there are none."""
    try:
        return {name: rows_of(table) for name, table in results(engine, bound, inputs).items()}  # type: ignore[arg-type]
    except DomainError as error:
        return error.reason
