"""How large a suite and its parts may be, so that whoever sends one cannot take the server's memory or time."""

from __future__ import annotations

MAX_SUITE_BYTES = 4 << 20
MAX_EXPECTATIONS = 2_000
MAX_SET_VALUES = 10_000
MAX_PATTERN_CHARACTERS = 4_096
MAX_PATTERNS = 100
MAX_TEXT_CHARACTERS = 65_536
"""Of a name, and of a value in a set."""
MAX_RECORD_COLUMNS = 32
"""Columns that one expectation compares within a record: each pair is a comparison."""
MAX_TABLE_COLUMNS = 10_000
MAX_BINS = 1_000
MAX_QUANTILES = 100
MAX_CONDITIONS = 100
"""Comparisons in a row condition."""
MAX_OBSERVED_VALUES = 100
"""Distinct values that a result lists."""
MAX_DATE_CHARACTERS = 200
"""No longer text is taken for a date: the parser's time grows with the text."""
