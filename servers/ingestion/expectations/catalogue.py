"""Every expectation there is, by its type in Great Expectations."""

from __future__ import annotations

from difflib import get_close_matches

from servers.ingestion.expectations import column_statistics, column_values, records, tables  # noqa: F401 - they register their rules
from servers.ingestion.expectations.errors import UnknownExpectation
from servers.ingestion.expectations.rule import RULES, Rule

# GX has them; what they need is elsewhere (another table, a database) or was given up by GX itself.
_NOT_HERE = {
    "expect_table_row_count_to_equal_other_table": "it reads another table",
    "expect_query_results_to_match_comparison": "it runs SQL",
    "unexpected_rows_expectation": "it runs SQL",
    "expect_multicolumn_values_to_be_unique": "its name now is expect_select_column_values_to_be_unique_within_record",
}
_RENAMED = {"expect_column_pair_values_A_to_be_greater_than_B": "expect_column_pair_values_a_to_be_greater_than_b"}


def expectation_types() -> tuple[str, ...]:
    """Return the types of all expectations, sorted."""
    return tuple(sorted(RULES))


def rule_of(type_: object) -> Rule:
    """Return what an expectation's type means.

    Args:
        type_: Its name in GX.

    Raises:
        UnknownExpectation: There is none; INVALID_ARGUMENT.
    """
    if isinstance(type_, str):
        if found := RULES.get(_RENAMED.get(type_, type_)):
            return found
        if type_ in _NOT_HERE:
            raise UnknownExpectation(f"{type_} of Great Expectations is not available: {_NOT_HERE[type_]}.", metadata={"type": type_})
    close = get_close_matches(str(type_)[:200], RULES, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UnknownExpectation(f"There is no expectation {str(type_)[:200]!r}.{hint}", metadata={"closest": close[0]} if close else None)
