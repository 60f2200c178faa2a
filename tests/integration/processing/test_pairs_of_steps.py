"""Every kind of step after every other, over partitions as in one piece: what one leaves decides how the next is cut."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from itertools import product

import pyarrow as pa
import pytest

from servers.processing.engines.local import LocalEngine
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
    Node,
    Ordering,
    Project,
    Scan,
    Top,
    Union,
    Window,
    WindowColumn,
)
from tests.integration.processing.plans import SCHEMAS, START
from tests.integration.processing.relations import LIMITS, bound, partitioned, results, rows_of

CHOICES = {
    "key": [None, 0, 1, 2, 3, 4],
    "word": [None, "a", "b", "é"],
    "moment": [None, *(START + timedelta(seconds=second) for second in range(5))],
    "value": [None, 0.0, -0.0, 0.5, 2.0, float("nan")],
    "score": [None, 0.0, -0.0, 0.5, 2.0, float("nan")],
    "amount": [None, Decimal("1.00"), Decimal("2.50")],
    "big": [None, 1, 2, 3, 2**53 + 1],
    "flag": [None, True, False],
}


def table(name: str, rows: int, seed: int) -> pa.Table:
    """Rows with few values a column, so that keys are equal, missing, and without a partner."""
    chooser = random.Random(f"{name} {seed}")
    return pa.Table.from_pylist(
        [{field.name: chooser.choice(CHOICES[field.name]) for field in SCHEMAS[name]} for _ in range(rows)], schema=SCHEMAS[name]
    )


TABLES = {"events": table("events", 40, 1), "facts": table("facts", 12, 1)}
KEY, WORD = JoinKey("key", "key"), JoinKey("word", "word")
FACTS = Project(
    "facts", "scan_facts", (Column("key", "key + 2"), Column("word", "word"), Column("moment", "moment"), Column("score", "score"))
)
COUNT = Column("count", "count(*)")


def first_steps() -> dict[str, Node]:
    joins = {
        f"{kind.value} join by {len(keys)} keys": Join("first", "events", "facts", keys, kind)
        for kind, keys in product(JoinKind, [(KEY,), (KEY, WORD)])
    }
    return {
        **joins,
        "join of numbers of other types": Join("first", "events", "facts", (JoinKey("value", "key"),), JoinKind.LEFT),
        "join without keys": Join("first", "events", "facts", (), JoinKind.RIGHT, "value > score"),
        "cross join": CrossJoin("first", "events", "facts"),
        "as-of join": AsOfJoin("first", "events", "facts", (KEY,), "moment", "moment", 2),
        "as-of join without keys": AsOfJoin("first", "events", "facts", (), "moment", "moment", is_strict=True, kind=JoinKind.INNER),
        "aggregate": Aggregate(
            "first",
            "events",
            (Column("word", "word"), Column("key", "key")),
            (Column("value", "sum(value)"), Column("moment", "max(moment)")),
        ),
        "window": Window(
            "first",
            "events",
            ("word",),
            (Ordering("moment"),),
            (WindowColumn("row", "row_number()"), WindowColumn("last", "last_value(big)")),
        ),
        "deduplicate": Deduplicate("first", "events", ("key",), (Ordering("word", True),)),
        "top": Top("first", "events", (Ordering("key"),), 20),
        "project": Project("first", "events", (Column("word", "key::VARCHAR"), Column("key", "length(word)")), keeps_others=True),
        "union": Union("first", ("events", "events")),
        "distinct union": Union("first", ("events", "events"), is_distinct=True),
    }


def second_steps() -> dict[str, Node]:
    return {
        "aggregate by key": Aggregate(
            "second", "first", (Column("key", "key"),), (COUNT, Column("words", "string_agg(word, '' ORDER BY word)"))
        ),
        "aggregate by word": Aggregate("second", "first", (Column("w", "word"),), (COUNT, Column("any", "arg_max(key, moment)"))),
        "aggregate by both": Aggregate("second", "first", (Column("w", "word"), Column("key", "key")), (COUNT,)),
        "aggregate of all": Aggregate("second", "first", (), (COUNT, Column("last", "max(moment)"))),
        "window by key": Window(
            "second", "first", ("key",), (Ordering("moment"),), (WindowColumn("place", "row_number()"), WindowColumn("peers", "count(*)"))
        ),
        "window of all": Window(
            "second", "first", (), (Ordering("value"),), (WindowColumn("rank", "rank()"), WindowColumn("before", "lag(word)"))
        ),
        "deduplicate by word": Deduplicate("second", "first", ("word",)),
        "top": Top("second", "first", (Ordering("moment", True, True),), 7, 2),
        "left join": Join("second", "first", "facts", (KEY,), JoinKind.LEFT, right_suffix="_2"),
        "full join": Join("second", "first", "facts", (WORD, KEY), JoinKind.FULL, right_suffix="_2"),
        "right join": Join("second", "facts", "first", (KEY,), JoinKind.RIGHT, right_suffix="_2"),
        "join with itself": Join("second", "first", "first", (KEY,), JoinKind.SEMI, "word <> word_2", right_suffix="_2"),
        "as-of join": AsOfJoin("second", "first", "facts", (KEY,), "moment", "moment", right_suffix="_2"),
        "as-of join to it": AsOfJoin("second", "facts", "first", (WORD,), "moment", "moment", right_suffix="_2"),
        "distinct union": Union("second", ("first", "filtered"), is_distinct=True),
        "union": Union("second", ("first", "filtered")),
    }


@pytest.mark.parametrize("second", second_steps())
@pytest.mark.parametrize("first", first_steps())
def test_a_step_after_another_is_the_same_over_partitions(first: str, second: str) -> None:
    steps = [
        Scan("events", "events"),
        Scan("scan_facts", "facts"),
        FACTS,
        first_steps()[first],
        Filter("filtered", "first", "key > 1"),
        second_steps()[second],
        Aggregate(
            "after",
            "second",
            (Column("key", "count"),) if "aggregate" in second else (Column("key", "key"),),
            (Column("rows", "count(*)"),),
        ),
    ]
    outputs = ("second", "after", "filtered")
    plan = bound(TABLES, *steps, outputs=outputs) if "facts" in str(steps[3:]) else bound(TABLES, *steps[:1], *steps[3:], outputs=outputs)

    wanted = {name: rows_of(rows) for name, rows in results(LocalEngine(LIMITS), plan, TABLES).items()}
    for count, small in ((3, False), (4, True)):
        found = results(partitioned(count, lambda _, small=small: small), plan, TABLES)  # type: ignore[misc]
        assert {name: rows_of(rows) for name, rows in found.items()} == wanted
