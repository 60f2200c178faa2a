"""Plans over the rows of changed files: which rows really changed, and which keys they have.

Rows are compared as multisets and by all columns that count. NaN is one value, and -0.0 another one than 0.0, which SQL holds for equal.
What is read are the changed files alone; rows that differ are held by the engine, which spills them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from servers.processing.engines.engine import Engine
from servers.processing.incremental.keys import KnownKeys
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.sql_kernel import Relation
from servers.processing.plan.binding import BoundPlan, bind
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.nodes import Aggregate, Column, Filter, Project, Scan, Union, Window, WindowColumn
from servers.processing.plan.plan import Plan, Step
from servers.runtime.sql_names import quoted
from servers.runtime.tables.changes import Changes
from servers.runtime.tables.errors import FullRecomputationNeeded

_MOST = 1 << 20
"""Steps and columns that our own plans may have: as many as inputs, and tables, bring along."""


@dataclass(frozen=True)
class ComparedInput:
    """An input whose files changed.

    Args:
        changes: Between its versions.
        schema: Columns that the plan reads, the same in both versions.
    """

    changes: Changes
    schema: pa.Schema


@dataclass(frozen=True)
class TouchedRows:
    """What really changed.

    Args:
        added: Rows that came, by input.
        removed: Rows that went, by input.
        keys: Distinct keys of both, in columns named by `touched_key`; without rows where no input has keys.
    """

    added: Mapping[str, int]
    removed: Mapping[str, int]
    keys: pa.Table


def touched_key(place: int) -> str:
    """Returns the name of a column of touched keys."""
    return f"touched_key_{place}"


def touched_rows(
    inputs: Mapping[str, ComparedInput], keys: KnownKeys | None, engine: Engine, cancellation: Cancellation, most_keys: int
) -> TouchedRows:
    """Counts the rows that changed and collects their keys.

    Args:
        inputs: Those whose files changed.
        keys: Of the pipeline; None if it has none.
        engine: Runs the comparison.
        cancellation: Stops it.
        most_keys: That are held in memory.

    Raises:
        FullRecomputationNeeded: FAILED_PRECONDITION: more keys are touched, or files were vacuumed meanwhile.
    """
    steps: list[Step] = []
    relations: dict[str, Relation] = {}
    rewritten = [name for name, given in inputs.items() if given.changes.removed]
    with_keys: list[str] = []
    for name, given in inputs.items():
        columns = () if keys is None else keys.inputs.get(name, ())
        net = f"net_{len(relations)}"
        if name in rewritten:
            steps += _net(net, given.schema)
            relations |= _sides(net, given)
            steps += _counts(net)
            columns = tuple(_place(given.schema.names.index(column)) for column in columns)
        elif columns:
            read = pa.schema([given.schema.field(column) for column in columns])
            relations[net] = given.changes.reader(given.changes.added, read)
            steps.append(Scan(net, net))
        if keys is not None and columns:
            texts = (f"CAST({quoted(column)} AS {type_name})" for column, type_name in zip(columns, keys.types, strict=True))
            steps.append(Project(f"{net}_keys", net, tuple(Column(touched_key(at), text) for at, text in enumerate(texts))))
            with_keys.append(f"{net}_keys")
    counts = [step.name for step in steps if step.name.endswith("_counts")]
    outputs = tuple(counts)
    if with_keys:
        steps.append(Union("touched", tuple(with_keys), is_distinct=True))
        outputs = (*outputs, "touched")
    # Of what only came, versions say how much it is.
    added = {name: given.changes.new.row_count - given.changes.old.row_count for name, given in inputs.items()}
    removed = dict.fromkeys(inputs, 0)
    found = pa.table({})
    if outputs:
        with engine.run(_bound(steps, outputs, relations), relations, cancellation) as results:
            for name, step in zip(rewritten, counts, strict=True):
                (row,) = results[step].read_all().to_pylist()
                added[name], removed[name] = row["added"], row["removed"]
            found = _at_most(results["touched"], most_keys) if with_keys else found
    return TouchedRows(added, removed, found)


def came(name: str, given: ComparedInput) -> tuple[list[Step], dict[str, Relation]]:
    """Returns steps that give the rows which came to an input of which none went, and what they read.

    Args:
        name: Of the last step; those before it, and what they read, have names that begin with it.
        given: The input, of which files were written anew.
    """
    net = f"{name}_net"
    columns = tuple(Column(column, quoted(_place(place))) for place, column in enumerate(given.schema.names))
    return [*_net(net, given.schema, is_numbered=True), Project(name, net, columns)], _sides(net, given)


def _net(name: str, schema: pa.Schema, *, is_numbered: bool = False) -> list[Step]:
    """Steps that give the rows that are more often on one side and, as `net`, how much more often: below 0 on the removed one.

    Args:
        name: Of the last step.
        schema: Columns that are compared; in the result they are named by their places.
        is_numbered: A row comes as often as it is more often there.
    """
    values = tuple(Column(_place(place), quoted(column)) for place, column in enumerate(schema.names))
    signs = tuple(Column(f"sign_{place}", _sign(field)) for place, field in enumerate(schema) if _has_floats(field.type))
    compared = [column.name for column in (*values, *signs)]
    steps: list[Step] = []
    sides = []
    for side, sign in (("added", 1), ("removed", -1)):
        scan, last = f"{name}_{side}", f"{name}_{side}_signed"
        steps += [Scan(scan, scan), Project(last, scan, (*values, *signs, Column("side", str(sign))))]
        if is_numbered:
            steps.append(Window(f"{last}_numbered", last, tuple(compared), (), (WindowColumn("number", "row_number()"),)))
            last = f"{last}_numbered"
        sides.append(last)
    grouped = tuple(Column(column, column) for column in (*compared, *(("number",) if is_numbered else ())))
    return [
        *steps,
        Union(f"{name}_both", tuple(sides)),
        Aggregate(f"{name}_sums", f"{name}_both", grouped, (Column("net", "sum(side)"),)),
        Filter(name, f"{name}_sums", "net <> 0"),
    ]


def _counts(net: str) -> list[Step]:
    sums = (Column("added", "sum(net) FILTER (WHERE net > 0)"), Column("removed", "-sum(net) FILTER (WHERE net < 0)"))
    as_numbers = tuple(Column(each.name, f"CAST(coalesce({each.name}, 0) AS BIGINT)") for each in sums)
    return [Aggregate(f"{net}_count", net, (), sums), Project(f"{net}_counts", f"{net}_count", as_numbers)]


def _sides(net: str, given: ComparedInput) -> dict[str, Relation]:
    changes = given.changes
    return {
        f"{net}_added": changes.reader(changes.added, given.schema),
        f"{net}_removed": changes.reader(changes.removed, given.schema),
    }


def _place(place: int) -> str:
    return f"column_{place}"


def _sign(field: pa.Field) -> str:
    return f"signbit({quoted(field.name)})" if pa.types.is_floating(field.type) else f"CAST({quoted(field.name)} AS VARCHAR)"


def _has_floats(arrow_type: pa.DataType) -> bool:
    if pa.types.is_nested(arrow_type):
        return any(_has_floats(arrow_type.field(place).type) for place in range(arrow_type.num_fields))
    return bool(pa.types.is_floating(arrow_type))


def _bound(steps: list[Step], outputs: tuple[str, ...], relations: Mapping[str, Relation]) -> BoundPlan:
    limits = PlanLimits(steps=_MOST, columns=_MOST)
    return bind(Plan(tuple(steps), outputs), {name: relation.schema for name, relation in relations.items()}, limits)


def _at_most(reader: pa.RecordBatchReader, most_keys: int) -> pa.Table:
    batches, count = [], 0
    for batch in reader:
        batches.append(batch)
        count += batch.num_rows
        if count > most_keys:
            raise FullRecomputationNeeded(f"more than {most_keys} keys are touched")
    return pa.Table.from_batches(batches, reader.schema)
