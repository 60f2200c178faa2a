"""Where a plan is cut, and what it takes to bring rows together."""

from __future__ import annotations

import pickle

import pyarrow as pa

from servers.processing.plan.estimates import InputSize, estimates, smaller_than
from servers.processing.plan.explain import explained
from servers.processing.plan.nodes import (
    Aggregate,
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
from servers.processing.plan.plan import Step
from servers.processing.stages.cutting import cut
from servers.processing.stages.stage import StagedPlan
from tests.integration.processing.relations import bound, partitioned, results

TABLES = {
    "events": pa.table({"key": pa.array([], pa.int32()), "word": pa.array([], pa.string()), "value": pa.array([], pa.float64())}),
    "facts": pa.table({"key": pa.array([], pa.int64()), "word": pa.array([], pa.string())}),
}
EVENTS, FACTS = Scan("e", "events"), Scan("f", "facts")
COUNT = (Column("count", "count(*)"),)


def stages(*steps: Step, outputs: tuple[str, ...] | None = None, small: tuple[str, ...] = ()) -> StagedPlan:
    return cut(bound(TABLES, *steps, outputs=outputs), lambda name: name in small)


def shape(staged: StagedPlan) -> list[tuple[tuple[str, ...], list[str]]]:
    """The steps of each stage, and how its inputs come: `HASH(key) of events`."""
    return [
        (
            stage.steps,
            [
                f"{each.exchange.kind.value}{''.join(f' {key.column}' for key in each.exchange.keys)} of {each.source}"
                for each in stage.inputs
            ],
        )
        for stage in staged.stages
    ]


def test_row_wise_steps_are_one_stage() -> None:
    steps = (
        EVENTS,
        Filter("a", "e", "key > 1"),
        Project("b", "a", (Column("key", "key"),)),
        Union("c", ("b", "b2")),
        Filter("b2", "f2", "true"),
        Project("f2", "f", (Column("key", "key"),)),
        FACTS,
    )

    staged = stages(*steps, outputs=("c",))

    assert len(staged.stages) == 1
    assert [each.exchange.kind.value for each in staged.stages[0].inputs] == ["KEEP", "KEEP"]


def test_keys_are_hashed_once_for_all_steps_that_share_them() -> None:
    steps = (
        EVENTS,
        Filter("a", "e", "value > 1"),
        Window("w", "a", ("key", "word"), (), (WindowColumn("row", "row_number()"),)),
        Aggregate("g", "w", (Column("word", "word"), Column("key", "key")), COUNT),
        Project("p", "g", (Column("k", "key"), Column("word", "word"))),
        Deduplicate("d", "p", ("word", "k")),
    )

    staged = stages(*steps)

    assert shape(staged) == [(("e", "a"), ["KEEP of events"]), (("w", "g", "p", "d"), ["HASH key word of a"])]
    assert staged.stages[-1].partitioned_by == ("k", "word")


def test_rows_that_lie_by_some_of_the_keys_are_not_moved() -> None:
    by_key = Aggregate("g", "e", (Column("key", "key"), Column("word", "word")), COUNT)
    by_word = Window("w", "e", ("word",), (), (WindowColumn("row", "row_number()"),))

    staged = stages(EVENTS, by_word, Aggregate("h", "w", by_key.keys, COUNT))

    assert shape(staged) == [(("e", "w", "h"), ["HASH word of events"])]


def test_keys_of_a_join_are_hashed_as_their_common_type() -> None:
    staged = stages(EVENTS, FACTS, Join("j", "e", "f", (JoinKey("key", "key"),)))

    assert [[(key.column, key.type) for key in each.exchange.keys] for each in staged.stages[0].inputs] == [
        [("key", "BIGINT")],
        [("key", "BIGINT")],
    ]


def test_a_side_that_lies_by_its_key_stays_where_it_is() -> None:
    grouped = Aggregate("g", "f", (Column("key", "key"),), COUNT)

    staged = stages(EVENTS, FACTS, grouped, Join("j", "g", "e", (JoinKey("key", "key"),)))

    assert shape(staged) == [(("f", "g", "e", "j"), ["HASH key of facts", "HASH key of events"])]


def test_a_small_side_goes_to_every_partition_if_no_row_of_it_can_be_told_twice() -> None:
    by_kind = {
        kind: shape(stages(EVENTS, FACTS, Join("j", "e", "f", (JoinKey("key", "key"),), kind), small=("f",)))[-1][1] for kind in JoinKind
    }

    for kind in (JoinKind.INNER, JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI):
        assert by_kind[kind] == ["KEEP of events", "BROADCAST of facts"]
    for kind in (JoinKind.RIGHT, JoinKind.FULL):
        assert by_kind[kind] == ["HASH key of events", "HASH key of facts"]


def test_rows_of_a_full_join_lie_by_no_key() -> None:
    joined = Join("j", "e", "f", (JoinKey("key", "key"),), JoinKind.FULL)

    staged = stages(EVENTS, FACTS, joined, Aggregate("g", "j", (Column("key", "key"),), COUNT))

    assert [inputs for _, inputs in shape(staged)] == [["HASH key of events", "HASH key of facts"], ["HASH key of j"]]


def test_what_needs_all_rows_has_one_partition_and_is_not_divided_again() -> None:
    steps = (
        EVENTS,
        Top("t", "e", (Ordering("key"),), 5),
        Aggregate("g", "t", (Column("key", "key"),), COUNT),
        Aggregate("all", "g", (), COUNT),
    )

    staged = stages(*steps)

    assert shape(staged) == [(("e", "t", "g", "all"), ["SINGLE of events"])]
    assert staged.stages[0].is_single


def test_rows_in_one_partition_meet_rows_in_many_by_an_exchange() -> None:
    staged = stages(EVENTS, FACTS, Top("t", "f", (), 5), Join("j", "e", "t", (JoinKey("key", "key"),)))

    assert [inputs for _, inputs in shape(staged)] == [["SINGLE of facts"], ["HASH key of events", "HASH key of t"]]


def test_rows_in_one_partition_are_not_computed_in_each_of_many() -> None:
    steps = (EVENTS, Top("t", "e", (), 5), Filter("a", "e", "true"), Union("u", ("t", "a")))
    rows = {"events": pa.table({"key": pa.array(range(9), pa.int32()), "word": ["a"] * 9, "value": [0.5] * 9})}
    plan = bound(TABLES, *steps)

    assert shape(cut(plan)) == [(("e", "t"), ["SINGLE of events"]), (("e", "a", "u"), ["KEEP of t", "KEEP of events"])]
    assert results(partitioned(3), plan, rows)["u"].num_rows == 14


def test_a_python_function_ends_its_stage() -> None:
    function = PythonFunction("p", "a", "", "f", (TypedColumn("key", "BIGINT"),))

    staged = stages(EVENTS, Filter("a", "e", "true"), function, Filter("b", "p", "key > 1"))

    assert shape(staged) == [(("e", "a", "p"), ["KEEP of events"]), (("b",), ["KEEP of p"])]
    assert staged.stages[0].function == function


def test_a_step_that_is_read_twice_is_computed_once() -> None:
    steps = (EVENTS, Filter("a", "e", "true"), Filter("b", "a", "key > 1"), Filter("c", "a", "key < 1"), Union("u", ("b", "c", "a")))

    assert shape(stages(*steps)) == [(("e", "a"), ["KEEP of events"]), (("b", "c", "u"), ["KEEP of a", "KEEP of a", "KEEP of a"])]


def test_computed_keys_are_computed_before_rows_are_moved() -> None:
    staged = stages(EVENTS, Aggregate("g", "e", (Column("k", "key % 2"),), COUNT))

    assert [stage.steps for stage in staged.stages] == [("e", "g.keys"), ("g",)]


def test_stages_can_be_sent_to_other_processes() -> None:
    staged = stages(
        EVENTS, FACTS, Join("j", "e", "f", (JoinKey("key", "key"),)), PythonFunction("p", "j", "", "f", (TypedColumn("key", "BIGINT"),))
    )

    assert pickle.loads(pickle.dumps(staged)) == staged


def test_types_that_arrow_lacks_travel_as_others_and_come_back() -> None:
    total = Aggregate("g", "e", (Column("key", "key"),), (Column("sum", "sum(key)"),))

    staged = stages(EVENTS, total, Aggregate("h", "g", (Column("sum", "sum"),), COUNT))

    assert staged.stages[0].schema.field("sum").type == pa.decimal128(38, 0)
    assert 'CAST("sum" AS HUGEINT)' in staged.stages[1].sql


def test_a_plan_is_explained() -> None:
    steps = (EVENTS, FACTS, Join("j", "e", "f", (JoinKey("key", "key"),)), Aggregate("g", "j", (Column("word", "word"),), COUNT))
    plan = bound(TABLES, *steps)
    sizes = {"events": InputSize(3_000_000, 60_000_000), "facts": InputSize(100, 2_000)}

    text = explained(plan, sizes)

    assert text.splitlines() == [
        "steps:",
        "  e: Scan of input 'events', about 3,000,000 rows, 57 MiB",
        "    key INTEGER, word VARCHAR, value DOUBLE",
        "  f: Scan of input 'facts', about 100 rows, 2 KiB",
        "    key BIGINT, word VARCHAR",
        "  j: Join of e, f, about 3,000,000 rows, 195 MiB",
        "    key INTEGER, word VARCHAR, value DOUBLE, key_right BIGINT, word_right VARCHAR",
        "  g: Aggregate of j (output), about 300,000 rows, 9 MiB",
        "    word VARCHAR, count BIGINT",
        "stages:",
        "  j (many partitions): e, f, j",
        "    input_0: input 'events', as it lies",
        "    input_1: input 'facts', all rows to every partition",
        "  g (many partitions, by word): g",
        "    input_0: stage j, by hash of word",
        "estimated: reads 57 MiB, moves 195 MiB between partitions, holds at most 9 MiB in one step",
    ]
    assert "about" not in explained(plan)


def test_small_is_what_the_estimates_say() -> None:
    plan = bound(TABLES, EVENTS, Filter("a", "e", "true"), outputs=("a",))

    found = estimates(plan, {"events": InputSize(300)})

    assert found["a"].rows == 100
    assert smaller_than(found["a"].bytes, found)("a")
    assert not smaller_than(found["a"].bytes, found)("e")


def test_an_estimate_is_never_more_than_a_message_can_say() -> None:
    pairs = [CrossJoin(f"c{number}", f"c{number - 1}" if number else "e", "e", right_suffix=f"_{number}") for number in range(8)]
    plan = bound(TABLES, EVENTS, *pairs, outputs=("c7",))

    found = estimates(plan, {"events": InputSize(10_000_000)})

    assert found["c7"].rows == found["c7"].bytes == 2**63 - 1
