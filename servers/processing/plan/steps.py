"""Steps above the relational core: sampling, splitting and what is fitted on the data. `lowering.py` says what they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Sample:
    """A share of the rows, chosen by a hash of the seed and the keys, never by their order: the same rows on every day and engine.

    Args:
        name: Of the step.
        input: Of which step.
        fraction: Above 0 and at most 1.
        seed: Another one gives other rows.
        keys: Rows with equal keys are taken or left together; empty for all columns. The text of the values counts.
    """

    name: str
    input: str
    fraction: float
    seed: int = 0
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """A part of a split and its share, above 0."""

    name: str
    share: float


@dataclass(frozen=True)
class Split:
    """Names each row's part in a new column, chosen as by `Sample`. The shares add up to 1."""

    name: str
    input: str
    parts: tuple[Part, ...]
    column: str = "split"
    seed: int = 0
    keys: tuple[str, ...] = ()


class ImputeStrategy(Enum):
    """What takes the place of a missing value."""

    MEAN = "MEAN"
    MEDIAN = "MEDIAN"
    MOST_FREQUENT = "MOST_FREQUENT"
    CONSTANT = "CONSTANT"


@dataclass(frozen=True)
class Impute:
    """Fills missing values: null, and NaN in columns of floats.

    Args:
        name: Of the step.
        input: Of which step.
        columns: Which are filled.
        strategy: MEAN and MEDIAN make whole numbers DOUBLE. Of several most frequent values the smallest counts.
        constant: Expression, for CONSTANT.
        fit_condition: On which rows the value is computed, such as `split = 'train'`; empty for all.
    """

    name: str
    input: str
    columns: tuple[str, ...]
    strategy: ImputeStrategy
    constant: str = ""
    fit_condition: str = ""


class ScaleKind(Enum):
    """How numbers are scaled; a column without spread becomes 0."""

    STANDARD = "STANDARD"
    MIN_MAX = "MIN_MAX"
    ROBUST = "ROBUST"


@dataclass(frozen=True)
class Scale:
    """Makes columns DOUBLE of a common scale: (x - mean) / deviation, (x - least) / range, or (x - median) / interquartile range.

    Null and NaN stay what they are, and count for nothing. The deviation is that of the population.
    """

    name: str
    input: str
    columns: tuple[str, ...]
    kind: ScaleKind = ScaleKind.STANDARD
    fit_condition: str = ""


class EncodeKind(Enum):
    """What becomes of a category."""

    ONE_HOT = "ONE_HOT"
    ORDINAL = "ORDINAL"


class Unknown(Enum):
    """What becomes of a value that is no category."""

    ERROR = "ERROR"
    NULL = "NULL"
    OTHER = "OTHER"


@dataclass(frozen=True)
class EncodedColumn:
    """A column and its categories, as texts in their order. Without categories they are the values that occur, sorted."""

    name: str
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class Encode:
    """Makes categories numbers.

    ORDINAL replaces the column by the category's place, from 0, as BIGINT; OTHER is the place after the last. ONE_HOT replaces it by a
    TINYINT column a category, `<column>_<category>`, and needs the categories, since columns have to be known before anything
    runs; OTHER has the column `<column>_other`. Null stays null in ORDINAL and has 0 everywhere in ONE_HOT.
    """

    name: str
    input: str
    columns: tuple[EncodedColumn, ...]
    kind: EncodeKind
    unknown: Unknown = Unknown.ERROR
    fit_condition: str = ""


FittedStep = Impute | Scale | Encode
CompositeStep = Sample | Split | Impute | Scale | Encode
