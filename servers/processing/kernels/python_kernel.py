"""Runs people's Python functions on record batches."""

from __future__ import annotations
import __future__

import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from servers.processing.kernels.cancellation import Cancellation
from servers.processing.kernels.errors import FunctionFailed
from servers.processing.plan.nodes import PythonFunction


def applied(
    node: PythonFunction, batches: Iterable[pa.RecordBatch], schema: pa.Schema, cancellation: Cancellation
) -> Iterator[pa.RecordBatch]:
    """Yields what a function returns for batches, or for all rows of a key.

    It runs in this process and can do what the process may do, so the process has to be one that may be killed.

    Args:
        node: The function.
        batches: What its SELECT gives.
        schema: What it has to return.
        cancellation: Checked between calls.

    Raises:
        FunctionFailed: INVALID_ARGUMENT: it raises, or returns something else than it said.
    """
    function = _defined(node)
    for given in _keys_together(batches) if node.partition_by else batches:
        cancellation.check()
        if given.num_rows:
            yield from _called(node, function, given, schema)


def _defined(node: PythonFunction) -> Callable[[Any], Any]:
    names: dict[str, Any] = {"__name__": f"step_{node.name}"}
    try:
        # What annotations name need not be there.
        code = compile(node.source, f"<step {node.name}>", "exec", __future__.annotations.compiler_flag, dont_inherit=True)
        exec(code, names)  # noqa: S102 (running it is the step's purpose)
    except Exception as error:
        raise _failed(node, f"its source cannot be run: {_last_words(error)}") from error
    function = names.get(node.function)
    if not callable(function):
        raise _failed(node, f"its source defines no function {node.function!r}")
    return function  # type: ignore[no-any-return]


def _called(
    node: PythonFunction, function: Callable[[Any], Any], given: pa.RecordBatch | pa.Table, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    try:
        returned = function(given)
    except Exception as error:
        raise _failed(node, f"{node.function} raised {_last_words(error)}") from error
    if not isinstance(returned, pa.RecordBatch | pa.Table):
        raise _failed(node, f"{node.function} returned {type(returned).__name__}; it has to return a pyarrow.RecordBatch or Table")
    for batch in returned.to_batches() if isinstance(returned, pa.Table) else (returned,):
        yield _of_schema(node, batch, schema)


def _of_schema(node: PythonFunction, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.names != schema.names:
        raise _failed(node, f"{node.function} returned the columns {batch.schema.names}; its schema says {schema.names}")
    for field in schema:
        returned = batch.schema.field(field.name).type
        if not _is_same_type(returned, field.type):
            raise _failed(node, f"{node.function} returned {returned} in column {field.name!r}; its schema says {field.type}")
    # Names of items and nullability may differ; values do not.
    return pa.RecordBatch.from_arrays([batch.column(field.name).cast(field.type) for field in schema], schema=schema)


def _is_same_type(left: pa.DataType, right: pa.DataType) -> bool:
    if pa.types.is_nested(left) and left.id == right.id and left.num_fields == right.num_fields:
        fields = [(left.field(place), right.field(place)) for place in range(left.num_fields)]
        names_count = pa.types.is_struct(left)
        return all(_is_same_type(one.type, other.type) and (one.name == other.name or not names_count) for one, other in fields)
    return bool(left.equals(right))


def _keys_together(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yields the rows of each key of batches that are ordered by their last column, the number of the key."""
    waiting: list[pa.RecordBatch] = []
    number = None
    for batch in batches:
        numbers = batch.column(batch.num_columns - 1).to_numpy()
        rows = batch.select(batch.schema.names[:-1])
        starts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), batch.num_rows]
        for start, end in pairwise(starts):
            if start == end:
                continue
            if waiting and numbers[start] != number:
                yield pa.Table.from_batches(waiting)
                waiting = []
            number = numbers[start]
            waiting.append(rows.slice(start, end - start))
    if waiting:
        yield pa.Table.from_batches(waiting)


def _failed(node: PythonFunction, message: str) -> FunctionFailed:
    return FunctionFailed(f"step {node.name!r}: {message}", metadata={"step": node.name})


def _last_words(error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith("<step ")]
    place = f" (line {lines[-1]} of its source)" if lines else ""
    return f"{type(error).__name__}: {str(error)[:500]}{place}"
