"""Runs a suite over a table: one scan for all expectations, a second one for the rows that break them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from servers.ingestion.expectations.catalogue import rule_of
from servers.ingestion.expectations.checks import Check, Observation, RowCheck, UniqueCheck
from servers.ingestion.expectations.column import Table
from servers.ingestion.expectations.errors import CannotRun, Reason
from servers.ingestion.expectations.report import ExpectationResult, Report, UnexpectedRow
from servers.ingestion.expectations.row_condition import parsed
from servers.ingestion.expectations.source import MEMORY_BYTES, Source, readable
from servers.ingestion.expectations.suite import Expectation, Severity, Suite


@dataclass(frozen=True)
class Compiled:
    """An expectation on one table: its check, or why there is none."""

    expectation: Expectation
    check: Check | None
    failure: CannotRun | None = None


def validate(
    suite: Suite,
    source: Source,
    *,
    unexpected_rows: int = 20,
    fail_at: Severity = Severity.CRITICAL,
    memory_bytes: int = MEMORY_BYTES,
) -> Report:
    """Check a table against a suite.

    All expectations are one `select` of aggregates, so the data are read once. Where rows break rules, a second pass finds the first of
    them (it ends where they are found), and rules of uniqueness that are broken take one grouping each.

    Args:
        suite: What is expected.
        source: The table: a Polars frame, an Arrow table, or record batches of any sizes.
        unexpected_rows: How many rows that break a rule are told, an expectation.
        fail_at: The mildest severity that makes the table FAILED.
        memory_bytes: What record batches may take in memory before they are kept in a temporary file.

    Returns:
        The report. An expectation that cannot run on this table has failed, and says why.

    Raises:
        InvalidBatches: The batches do not make one table; INVALID_ARGUMENT.
        polars.exceptions.PolarsError: The source cannot be read.
    """
    with readable(source, memory_bytes) as frame:
        compiled = compile_suite(suite, frame)
        row_count, observations = _observe(frame, compiled)
        rows = _unexpected_rows(frame, compiled, observations, unexpected_rows)
    results = tuple(map(_result, compiled, observations, rows))
    return Report(suite.name, results, row_count, fail_at)


def compile_suite(suite: Suite, frame: pl.LazyFrame) -> list[Compiled]:
    """Return each expectation as a check of this table, or why it is none."""
    schema = frame.collect_schema()
    return [_compiled(expectation, schema) for expectation in suite.expectations]


def _compiled(expectation: Expectation, schema: Mapping[str, pl.DataType]) -> Compiled:
    given = expectation.arguments
    condition = given.get("row_condition")
    try:
        return Compiled(
            expectation, rule_of(expectation.type).compile(Table(schema, None if condition is None else parsed(condition)), given)
        )
    except CannotRun as failure:
        return Compiled(expectation, None, failure)


Outcome = Observation | CannotRun


def _observe(frame: pl.LazyFrame, compiled: Sequence[Compiled]) -> tuple[int, list[Outcome]]:
    checks = [each.check for each in compiled]
    try:
        row_count, outcomes = _fused(frame, checks)
    except pl.exceptions.PolarsError:
        # One of them stops all. Each alone shows which; where not even the rows can be counted, it is the source.
        row_count, _ = _fused(frame, [])
        outcomes = [_alone(frame, check) for check in checks]
    return row_count, [
        each.failure or outcome or CannotRun(Reason.ENGINE_ERROR, "There is no check.")
        for each, outcome in zip(compiled, outcomes, strict=True)
    ]


def _alone(frame: pl.LazyFrame, check: Check | None) -> Outcome | None:
    try:
        return _fused(frame, [check])[1][0]
    except pl.exceptions.PolarsError as error:
        return CannotRun(Reason.ENGINE_ERROR, str(error).splitlines()[0])


def _fused(frame: pl.LazyFrame, checks: Sequence[Check | None]) -> tuple[int, list[Outcome | None]]:
    aggregates = [aggregate for check in checks if check for aggregate in check.aggregates]
    named = [aggregate.alias(str(number)) for number, aggregate in enumerate(aggregates)]
    row_count, *found = frame.select(pl.len().alias("rows"), *named).collect(engine="streaming").row(0)
    values = iter(found)
    taken = [None if check is None else [next(values) for _ in check.aggregates] for check in checks]
    repeated = _repeated(frame, checks, taken)
    return row_count, [
        None if check is None or row is None else _concluded(check, row, repeated.get(place))
        for place, (check, row) in enumerate(zip(checks, taken, strict=True))
    ]


def _repeated(frame: pl.LazyFrame, checks: Sequence[Check | None], taken: Sequence[list[Any] | None]) -> dict[int, int]:
    """Return how many rows share their key, of checks where the scan has seen fewer keys than rows."""
    broken = {
        place: check.repeated(frame)
        for place, (check, row) in enumerate(zip(checks, taken, strict=True))
        if isinstance(check, UniqueCheck) and row and (row[1] or 0) != row[2]
    }
    counts = pl.collect_all(list(broken.values()), engine="streaming") if broken else []
    return {place: int(count.item() or 0) for place, count in zip(broken, counts, strict=True)}


def _concluded(check: Check, row: list[Any], repeated: int | None) -> Outcome:
    try:
        if isinstance(check, UniqueCheck):
            return check.conclude(row[0] or 0, row[1] or 0, repeated or 0)
        # A sum over no rows at all is null in some forms of the plan.
        return check.conclude(*(value or 0 for value in row)) if isinstance(check, RowCheck) else check.conclude(*row)
    except CannotRun as failure:
        return failure


def _unexpected_rows(
    frame: pl.LazyFrame, compiled: Sequence[Compiled], outcomes: Sequence[Outcome], most: int
) -> list[tuple[UnexpectedRow, ...]]:
    broken = {
        place: each.check
        for place, (each, outcome) in enumerate(zip(compiled, outcomes, strict=True))
        if isinstance(each.check, RowCheck) and isinstance(outcome, Observation) and outcome.unexpected_count
    }
    found: list[tuple[UnexpectedRow, ...]] = [()] * len(compiled)
    if not broken or most <= 0:
        return found
    # A plan each, run together: a plan ends with its last row wanted and keeps nothing else, where one `select` would keep all columns.
    index = _free_name(frame.collect_schema())
    numbered = frame.with_row_index(index)
    # Named by their places: a table may have a column of any name.
    plans = [
        numbered.filter(check.unexpected)
        .head(most)
        .select(pl.col(index).alias("row"), *(pl.col(column).alias(str(n)) for n, column in enumerate(check.columns)))
        for check in broken.values()
    ]
    tables = pl.collect_all(plans, engine="streaming")
    for (place, check), rows in zip(broken.items(), tables, strict=True):
        rule = compiled[place].expectation.type
        found[place] = tuple(
            UnexpectedRow(row["row"], ", ".join(check.columns), _shown(check, row), rule) for row in rows.iter_rows(named=True)
        )
    return found


def _free_name(schema: Iterable[str]) -> str:
    return max(schema, key=len, default="") + " row"


def _shown(check: RowCheck, row: Mapping[str, Any]) -> Any:
    values = {column: row[str(n)] for n, column in enumerate(check.columns)}
    return values if len(values) > 1 else next(iter(values.values()))


def _result(compiled: Compiled, outcome: Outcome, rows: tuple[UnexpectedRow, ...]) -> ExpectationResult:
    if isinstance(outcome, CannotRun):
        return ExpectationResult(compiled.expectation, success=False, reason=outcome.reason, message=outcome.message)
    missing = None
    if outcome.has_missing and outcome.element_count is not None and outcome.considered_count is not None:
        missing = outcome.element_count - outcome.considered_count
    result = ExpectationResult(compiled.expectation, outcome.success, outcome.observed_value, outcome.element_count, missing)
    return replace(result, unexpected_count=outcome.unexpected_count, unexpected_rows=rows, details=outcome.details)
