"""Stages, and how rows come from one to the next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pyarrow as pa

from servers.processing.plan.nodes import PythonFunction


class ExchangeKind(Enum):
    """Which rows of an input a partition of a stage gets.

    KEEP: those of the partition with its number; of an input with fewer partitions some get nothing. HASH: those whose keys hash to
    it. BROADCAST: all of them, in every partition. SINGLE: all of them; the stage has one partition.
    """

    KEEP = "KEEP"
    HASH = "HASH"
    BROADCAST = "BROADCAST"
    SINGLE = "SINGLE"


@dataclass(frozen=True)
class HashKey:
    """A column to hash by, cast to a type first, so that equal values of different types meet."""

    column: str
    type: str


@dataclass(frozen=True)
class Exchange:
    """How rows come to the partitions of a stage.

    Args:
        kind: See `ExchangeKind`.
        keys: For HASH.
    """

    kind: ExchangeKind
    keys: tuple[HashKey, ...] = ()


@dataclass(frozen=True)
class StageInput:
    """One relation that a stage reads.

    Args:
        source: An input of the job, or the name of another stage.
        is_scan: Whether it is an input of the job.
        exchange: Which rows a partition gets.
        schema: Of the rows.
    """

    source: str
    is_scan: bool
    exchange: Exchange
    schema: pa.Schema


@dataclass(frozen=True)
class Stage:
    """A piece of a plan that runs on every partition of its inputs alone.

    Args:
        name: Of the last of its steps.
        inputs: What it reads; `sql` has them as `input_0`, `input_1`, …
        sql: One SELECT.
        sql_schema: Of the rows that `sql` gives.
        function: What they go through after that, if anything.
        schema: Of the stage's rows.
        is_single: Whether it has one partition, whatever the engine.
        partitioned_by: Columns of which equal values are in one partition; None if nothing is known.
        steps: Names of the nodes within.
    """

    name: str
    inputs: tuple[StageInput, ...]
    sql: str
    sql_schema: pa.Schema
    function: PythonFunction | None
    schema: pa.Schema
    is_single: bool
    partitioned_by: tuple[str, ...] | None
    steps: tuple[str, ...]


@dataclass(frozen=True)
class StagedPlan:
    """A plan as stages.

    Args:
        stages: Each after those that it reads.
        outputs: Names of the stages whose rows are wanted.
    """

    stages: tuple[Stage, ...]
    outputs: tuple[str, ...]
