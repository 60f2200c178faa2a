"""Which plans can be incremental, and what is said of those that cannot."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from servers.processing.engines.local import LocalEngine
from servers.processing.incremental.errors import NotIncremental
from servers.processing.incremental.keys import Keys, known_keys
from servers.processing.incremental.obstacles import judged_by_keys, judged_by_rows
from servers.processing.incremental.running import check_appending, check_incremental
from servers.processing.plan.binding import BoundPlan, bind
from servers.processing.plan.errors import InvalidPlan, TypeMismatch, UnknownColumn, UnknownInput
from servers.processing.plan.nodes import (
    Aggregate,
    Column,
    Deduplicate,
    PythonFunction,
    Scan,
    TypedColumn,
)
from servers.processing.plan.plan import Plan, Step
from servers.processing.plan.sql import plan_of_sql
from servers.processing.plan.steps import Sample, Scale
from tests.integration.processing.relations import LIMITS, Rows, results, rows_of

DAY = date(2026, 1, 1)
SOURCES = {
    "orders": pa.schema([("customer", pa.int64()), ("product", pa.int32()), ("day", pa.date32()), ("amount", pa.float64())]),
    "visits": pa.schema([("customer", pa.int32()), ("day", pa.date32()), ("page", pa.string())]),
    "products": pa.schema([("product", pa.int32()), ("label", pa.string())]),
}
CUSTOMER = Keys(("customer",))


def sql(text: str) -> BoundPlan:
    return bind(plan_of_sql(text, {name: schema.names for name, schema in SOURCES.items()}), SOURCES)


def of(*steps: Step) -> BoundPlan:
    return bind(Plan(steps, (steps[-1].name,)), SOURCES)


def problems(plan: BoundPlan, keys: Keys = CUSTOMER) -> list[tuple[str, str]]:
    return [(each.step, each.problem) for each in judged_by_keys(plan, known_keys(keys, plan)).obstacles]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT customer, sum(amount) AS spent FROM orders WHERE amount > 0 GROUP BY customer HAVING sum(amount) > 10 ORDER BY spent",
        "SELECT customer, day, count(*) AS n FROM orders GROUP BY customer, day",
        "SELECT customer, label, amount FROM orders JOIN products USING (product)",
        "SELECT customer, label FROM products RIGHT JOIN orders USING (product)",
        "SELECT o.customer, o.amount, v.page FROM orders o LEFT JOIN visits v ON o.customer = v.customer AND o.day = v.day",
        "SELECT customer, amount, page FROM orders FULL JOIN visits USING (customer)",
        "SELECT coalesce(v.customer, o.customer) AS customer FROM orders o FULL JOIN visits v ON o.customer = v.customer",
        "SELECT v.customer, o.amount FROM orders o RIGHT JOIN visits v ON o.customer = v.customer",
        "SELECT customer, row_number() OVER (PARTITION BY day, customer ORDER BY amount) AS place FROM orders",
        "SELECT customer FROM orders UNION SELECT customer FROM visits",
        "SELECT customer, count(*) AS n FROM (SELECT customer FROM orders UNION ALL SELECT customer FROM visits) GROUP BY customer",
        "SELECT customer, amount FROM orders SEMI JOIN products USING (product)",
        "WITH best AS (SELECT customer, max(amount) AS most FROM orders GROUP BY customer) "
        "SELECT o.customer, o.amount / b.most AS share FROM orders o JOIN best b USING (customer)",
        "SELECT customer, day FROM orders CROSS JOIN (SELECT count(*) AS n FROM products)",
    ],
)
def test_plans_that_keep_customers_apart_can_be_incremental(text: str) -> None:
    assert problems(sql(text)) == []


@pytest.mark.parametrize(
    ("text", "step", "problem"),
    [
        (
            "SELECT day, sum(amount) AS s FROM orders GROUP BY day",
            "aggregate",
            "aggregates the rows of each ('day'), which does not include the key 'customer'",
        ),
        ("SELECT sum(amount) AS s FROM orders", "aggregate", "aggregates all rows"),
        ("SELECT customer, rank() OVER (ORDER BY amount) AS r FROM orders", "window", "computes a window over all rows"),
        ("SELECT customer, amount FROM orders ORDER BY amount LIMIT 3", "result", "takes the first of all rows"),
        ("SELECT customer + 1 AS customer FROM orders", "result", "is an output, and its column 'customer' is not the key unchanged"),
        ("SELECT customer AS client FROM orders", "result", "its column 'customer' is not the key unchanged: it is in 'client'"),
        ("SELECT o.customer FROM orders o JOIN visits v ON o.day = v.day", "join", "joins rows of different keys"),
        (
            "SELECT customer, label FROM orders RIGHT JOIN products USING (product)",
            "join",
            "keeps rows of step 'products', which has no key",
        ),
        ("SELECT customer, label FROM products LEFT JOIN orders USING (product)", "join", "joins each row of step 'products'"),
        ("SELECT o.customer FROM orders o FULL JOIN visits v ON o.customer = v.customer", "result", "is not the key unchanged"),
        ("SELECT v.customer FROM orders o LEFT JOIN visits v ON o.customer = v.customer", "result", "is not the key unchanged"),
        ("SELECT o.customer FROM orders o RIGHT JOIN visits v ON o.customer = v.customer", "result", "is not the key unchanged"),
        ("SELECT customer FROM visits UNION SELECT customer + 1 FROM visits", "", "key"),
        ("SELECT customer FROM orders UNION ALL SELECT product AS customer FROM products", "", "has the rows of step"),
        ("SELECT o.customer, v.page FROM orders o ASOF JOIN visits v ON o.product = v.customer AND o.day >= v.day", "", "different keys"),
    ],
)
def test_what_mixes_customers_is_named(text: str, step: str, problem: str) -> None:
    ((found_step, found_problem),) = problems(sql(text))

    assert found_step.startswith(step)
    assert problem in found_problem


def test_steps_that_no_select_has() -> None:
    scan = Scan("orders", "orders")
    function = "def same(rows):\n    return rows"
    schema = tuple(TypedColumn(name, type_name) for name, type_name in (("customer", "BIGINT"), ("amount", "DOUBLE")))
    less = Aggregate("less", "orders", (Column("customer", "customer"), Column("amount", "amount")), ())

    assert problems(of(scan, Deduplicate("first", "orders", ("customer",)))) == []
    assert problems(of(scan, Sample("half", "orders", 0.5))) == []
    assert problems(of(scan, less, PythonFunction("call", "less", function, "same", schema, ("customer",)))) == []
    assert problems(of(scan, Deduplicate("first", "orders", ("day",)))) == [
        ("first", "keeps one row of each ('day'), which does not include the key 'customer'")
    ]
    assert problems(of(scan, Scale("scaled", "orders", ("amount",)))) == [("scaled", "is fitted on all rows")]
    ((step, problem),) = problems(of(scan, less, PythonFunction("call", "less", function, "same", schema)))
    assert (step, problem) == ("call", "has a Python function that is given rows of all keys; give it the key in partition_by")


def test_the_error_says_all_that_is_in_the_way() -> None:
    plan = sql("SELECT day, sum(amount) AS s FROM orders GROUP BY day ORDER BY s LIMIT 3")

    with pytest.raises(NotIncremental) as refused:
        check_incremental(plan, CUSTOMER)

    assert refused.value.message == (
        "the pipeline cannot be incremental with keys (customer): step 'aggregate' aggregates the rows of each ('day'), "
        "which does not include the key 'customer'; change these steps or the keys, or recompute in full"
    )
    assert refused.value.metadata == {"step": "aggregate"}
    check_incremental(sql("SELECT day, sum(amount) AS s FROM orders GROUP BY day"), Keys(("day",)))


def test_keys_are_found_or_refused() -> None:
    plan = sql("SELECT o.customer, day, product, label FROM orders o JOIN products USING (product)")

    known = known_keys(Keys(("customer", "day")), plan)
    assert (known.inputs, known.types) == ({"orders": ("customer", "day")}, ("BIGINT", "DATE"))
    assert known_keys(Keys(("product",)), plan).inputs == {"orders": ("product",), "products": ("product",)}
    assert known_keys(Keys(("PRODUCT",), {"products": ()}), plan).inputs == {"orders": ("product",)}
    with pytest.raises(InvalidPlan, match="no input has the keys 'nothing'"):
        known_keys(Keys(("nothing",)), plan)
    with pytest.raises(InvalidPlan, match="each named once"):
        known_keys(Keys(("day", "day")), plan)
    with pytest.raises(UnknownInput, match="did you mean 'orders'"):
        known_keys(Keys(("day",), {"order": ("day",)}), plan)
    with pytest.raises(UnknownColumn, match="did you mean 'day'"):
        known_keys(Keys(("day",), {"orders": ("dya",)}), plan)
    with pytest.raises(InvalidPlan, match="2 columns for 1 keys"):
        known_keys(Keys(("day",), {"orders": ("day", "customer")}), plan)
    with pytest.raises(TypeMismatch, match="is BIGINT in input 'orders' and VARCHAR in input 'products'"):
        known_keys(Keys(("customer",), {"products": ("label",)}), plan)


def test_without_keys_only_what_is_done_row_by_row_is_appended() -> None:
    row_wise = sql("SELECT customer, label FROM orders JOIN products USING (product) WHERE amount > 1")

    check_appending(row_wise)
    assert judged_by_rows(row_wise, {"orders"}).obstacles == judged_by_rows(row_wise, {"products"}).obstacles == ()
    (both,) = judged_by_rows(row_wise, {"orders", "products"}).obstacles
    assert "both sides have new rows" in both.problem
    assert judged_by_rows(row_wise, {"visits"}).fixed_outputs == {"result"}
    for text in (
        "SELECT customer FROM orders GROUP BY customer",
        "SELECT DISTINCT day FROM orders",
        "SELECT rank() OVER () AS r FROM orders",
    ):
        with pytest.raises(NotIncremental, match=r"cannot be incremental without keys: step '.*, which new rows change"):
            check_appending(sql(text))


ROWS = {
    "orders": pa.table({"customer": [1, 1, 2, 2], "product": [1, 2, 1, 9], "day": [DAY] * 4, "amount": [1.0, 2.0, 3.0, 4.0]}),
    "visits": pa.table({"customer": [1, 2], "day": [DAY] * 2, "page": ["a", "b"]}),
    "products": pa.table({"product": [1, 2, 3], "label": ["x", "y", "z"]}),
}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT day, sum(amount) AS s FROM orders GROUP BY day",
        "SELECT sum(amount) AS s FROM orders",
        "SELECT customer, amount, rank() OVER (ORDER BY amount) AS r FROM orders",
        "SELECT customer, amount FROM orders ORDER BY amount DESC LIMIT 1",
        "SELECT DISTINCT day FROM orders",
        "SELECT o.customer, v.page FROM orders o JOIN visits v ON o.day = v.day",
        "SELECT customer, label FROM orders RIGHT JOIN products USING (product)",
        "SELECT customer, label FROM products LEFT JOIN orders USING (product)",
        "SELECT label FROM products ANTI JOIN orders USING (product)",
        "SELECT customer FROM orders UNION ALL SELECT product AS customer FROM products",
    ],
)
def test_what_is_refused_gives_other_rows_if_customers_are_computed_one_by_one(text: str) -> None:
    plan = sql(text)
    assert problems(plan)

    def computed(customers: list[int]) -> Rows:
        tables = {name: _of_customers(rows, customers).cast(SOURCES[name]) for name, rows in ROWS.items()}
        return rows_of(results(LocalEngine(LIMITS), plan, {name: tables[name] for name in plan.sources})["result"])

    assert computed([1]) + computed([2]) != computed([1, 2])


def _of_customers(rows: pa.Table, customers: list[int]) -> pa.Table:
    return rows.filter(pc.field("customer").isin(customers)) if "customer" in rows.schema.names else rows
