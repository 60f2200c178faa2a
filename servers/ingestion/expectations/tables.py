"""Expectations about a table: its columns and the number of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from servers.ingestion.expectations import arguments as accept
from servers.ingestion.expectations.arguments import optional, required
from servers.ingestion.expectations.checks import Check, ColumnCheck, Observation, known
from servers.ingestion.expectations.column import Table
from servers.ingestion.expectations.column_statistics import lies_between
from servers.ingestion.expectations.rule import bounds_contradict, rule

Arguments = Mapping[str, Any]

_COUNTS = {"min_value": optional(accept.count), "max_value": optional(accept.count)}
_STRICT = {"strict_min": optional(accept.truth, False), "strict_max": optional(accept.truth, False)}


@rule("expect_column_to_exist", {"column": required(accept.text), "column_index": optional(accept.count)}, condition=False)
def _exists(table: Table, given: Arguments) -> Check:
    names, index = list(table.schema), given["column_index"]
    if index is None:
        return known(given["column"] in names)
    return known(index < len(names) and names[index] == given["column"])


@rule("expect_table_columns_to_match_ordered_list", {"column_list": required(accept.table_columns)}, condition=False)
def _ordered(table: Table, given: Arguments) -> Check:
    names, wanted = list(table.schema), given["column_list"]
    places = enumerate(zip_longest(wanted, names))
    mismatched = [{"Expected Column Position": n, "Expected": want, "Found": name} for n, (want, name) in places if want != name]
    return known(False, names, mismatched=mismatched) if mismatched else known(True, names)


@rule(
    "expect_table_columns_to_match_set",
    {"column_set": required(accept.table_columns), "exact_match": optional(accept.truth, True)},
    condition=False,
)
def _named(table: Table, given: Arguments) -> Check:
    names, wanted = set(table.schema), set(given["column_set"])
    mismatched = {
        kind: sorted(others) for kind, others in (("unexpected", names - wanted), ("missing", wanted - names)) if others
    }  # fmt: skip
    is_met = not mismatched if given["exact_match"] else wanted <= names
    return known(is_met, sorted(names), **({"mismatched": mismatched} if mismatched else {}))


@rule("expect_table_column_count_to_equal", {"value": required(accept.count)}, condition=False)
def _column_count(table: Table, given: Arguments) -> Check:
    return known(len(table.schema) == given["value"], len(table.schema))


@rule("expect_table_column_count_to_be_between", _COUNTS, condition=False, contradiction=bounds_contradict)
def _column_count_between(table: Table, given: Arguments) -> Check:
    strict = {"strict_min": False, "strict_max": False}
    return known(lies_between(len(table.schema), given["min_value"], given["max_value"], strict), len(table.schema))


@rule("expect_table_row_count_to_equal", {"value": required(accept.count)})
def _row_count(table: Table, given: Arguments) -> Check:
    return ColumnCheck((table.row_count,), lambda rows: Observation(rows == given["value"], rows))


@rule("expect_table_row_count_to_be_between", _COUNTS | _STRICT, contradiction=bounds_contradict)
def _row_count_between(table: Table, given: Arguments) -> Check:
    low, high = given["min_value"], given["max_value"]
    return ColumnCheck((table.row_count,), lambda rows: Observation(lies_between(rows, low, high, given), rows))
