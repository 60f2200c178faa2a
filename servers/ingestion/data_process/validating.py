"""Expectations of a dataset, or of a source before it becomes one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pyarrow as pa

from servers.ingestion.data_process.json_values import json_value
from servers.ingestion.data_process.progress import RowsRead
from servers.ingestion.data_process.read_options import parsed_options
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.errors import NothingToValidate
from servers.ingestion.expectations import ExpectationResult, Report, suite_from_json, suite_to_json
from servers.ingestion.expectations import suggest as suggested
from servers.ingestion.expectations import validate as checked
from servers.ingestion.readers.rows import open_rows
from servers.runtime.data_process.messages import OnProgress


def validate(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Checks a dataset or a source against a suite of expectations."""
    suite = suite_from_json(arguments["suite"])
    with _data(workplace, arguments) as (schema, batches):
        counted = RowsRead(on_progress).counted(batches)
        report = checked(suite, chain((empty(schema),), counted), unexpected_rows=arguments.get("max_unexpected_rows", 20))
    return report_object(report)


def suggest(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Suggests a suite from what a dataset has."""
    with _data(workplace, arguments) as (schema, batches):
        counted = RowsRead(on_progress).counted(batches)
        return suite_to_json(suggested(chain((empty(schema),), counted), name=arguments["dataset"]))


def empty(schema: pa.Schema) -> pa.RecordBatch:
    """Returns a batch without rows: where there are none, nothing else tells the schema."""
    return pa.record_batch([pa.nulls(0, field.type) for field in schema], schema=schema)


def report_object(report: Report) -> dict[str, Any]:
    """Returns a report as callers see it."""
    return {
        "suite_name": report.suite_name,
        "status": str(report.status),
        "row_count": report.row_count,
        "successful_count": report.statistics.successful,
        "results": list(map(_result, report.results)),
    }


@contextmanager
def _data(workplace: Workplace, arguments: Mapping[str, Any]) -> Iterator[tuple[pa.Schema, Iterable[pa.RecordBatch]]]:
    dataset, source = arguments.get("dataset"), arguments.get("source")
    if (dataset is None) == (source is None):
        raise NothingToValidate
    if dataset is not None:
        table = workplace.tables.table(arguments["project"], dataset)
        snapshot = table.snapshot(arguments.get("version"))
        yield snapshot.schema, table.batches(snapshot.version)
        return
    with workplace.sources.opened(arguments["source"]) as local:
        options = parsed_options(arguments.get("read") or {}, local.name)
        with open_rows(local.path, local.name, options, workplace.limits) as rows:
            yield rows.schema, rows


def _result(result: ExpectationResult) -> dict[str, Any]:
    return {
        "type": result.expectation.type,
        "kwargs": json_value(result.expectation.kwargs),
        "severity": str(result.expectation.severity).upper(),
        "success": result.success,
        "observed_value": json_value(result.observed_value),
        "element_count": result.element_count,
        "missing_count": result.missing_count,
        "unexpected_count": result.unexpected_count,
        "unexpected_rows": [{"row": row.row + 1, "column": row.column, "value": json_value(row.value)} for row in result.unexpected_rows],
        "reason": "" if result.reason is None else str(result.reason),
        "message": result.message,
    }
