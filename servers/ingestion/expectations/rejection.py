"""Which rows of a batch break critical rules, so that they can be put aside."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from servers.ingestion.expectations.checks import RowCheck
from servers.ingestion.expectations.report import Report
from servers.ingestion.expectations.scan import Compiled, compile_suite
from servers.ingestion.expectations.suite import Severity, Suite


@dataclass(frozen=True)
class Rejection:
    """Rows that break critical rules.

    Args:
        mask: True for each row of the batch that breaks one; Boolean, as long as the batch.
        reasons: Columns `row` (from 0), `column`, `value` (as text), `rule`, `severity`; one row a broken rule, in the order of rows.
    """

    mask: pl.Series
    reasons: pl.DataFrame


def rejected(suite: Suite, batch: pl.DataFrame, report: Report | None = None) -> Rejection:
    """Find the rows of a batch that break critical expectations about rows.

    Args:
        suite: What is expected.
        batch: The rows, in memory.
        report: What `validate` said of this batch. With it, only expectations that failed count, so that what `mostly` tolerates is kept;
            without it, every row that breaks a rule is rejected.

    Returns:
        The rows. Expectations about columns or tables reject no row, nor do those that cannot run: these are in the report.
    """
    frame = batch.lazy()
    failed = None if report is None else [not result.success for result in report.results]
    checks = [
        (each, each.check)
        for place, each in enumerate(compile_suite(suite, frame))
        if isinstance(each.check, RowCheck) and each.expectation.severity is Severity.CRITICAL and (failed is None or failed[place])
    ]
    if not checks or not batch.height:
        return Rejection(pl.repeat(False, batch.height, dtype=pl.Boolean, eager=True).alias("rejected"), _NO_REASONS)
    masks = frame.select(check.unexpected.fill_null(False).alias(str(n)) for n, (_, check) in enumerate(checks)).collect(engine="in-memory")
    reasons = [_reasons(batch, masks[str(n)], each, check) for n, (each, check) in enumerate(checks)]
    mask = masks.select(pl.any_horizontal(pl.all()).alias("rejected")).to_series()
    return Rejection(mask, pl.concat([_NO_REASONS, *reasons]).sort("row", maintain_order=True))


_NO_REASONS = pl.DataFrame(schema={"row": pl.Int64, "column": pl.String, "value": pl.String, "rule": pl.String, "severity": pl.String})


def _reasons(batch: pl.DataFrame, mask: pl.Series, each: Compiled, check: RowCheck) -> pl.DataFrame:
    rows = mask.arg_true()
    broken = batch[rows].select(check.columns)
    values = [_text(value[0] if len(check.columns) == 1 else dict(zip(check.columns, value, strict=True))) for value in broken.iter_rows()]
    return pl.DataFrame(
        {
            "row": rows.cast(pl.Int64),
            "column": [", ".join(check.columns)] * len(values),
            "value": values,
            "rule": [each.expectation.type] * len(values),
            "severity": [str(each.expectation.severity)] * len(values),
        },
        schema=_NO_REASONS.schema,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
