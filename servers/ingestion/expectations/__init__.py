"""Expectations of data, in Great Expectations' vocabulary, checked in one scan.

```python
suite = suite_from_json(Path("orders.json").read_bytes())
report = validate(suite, pl.scan_parquet("orders/*.parquet"))
if report.status is Status.FAILED:
    quarantine = rejected(suite, batch, report)
```

GX's semantics count: missing values (null, and NaN) are left out of rules about values, `mostly` is a share of the rest, `row_condition`
says which rows are looked at. Different on purpose:

- A column that is missing or of another type than the rule needs makes the expectation fail with a typed reason; GX raises.
- Types are the column's, not each value's. Regular expressions are Rust's. LIKE is case-sensitive on every backend.
- A row condition with a missing value holds for no row (SQL); on pandas `!=` would hold.
- Arguments that can never fit are refused when the suite is read: neither bound given, KL divergence without partition or threshold.
"""

from servers.ingestion.expectations.catalogue import expectation_types
from servers.ingestion.expectations.errors import (
    InvalidBatches,
    InvalidExpectation,
    InvalidRowCondition,
    InvalidSuite,
    Reason,
    SuiteTooLarge,
    UnknownExpectation,
)
from servers.ingestion.expectations.rejection import Rejection, rejected
from servers.ingestion.expectations.report import ExpectationResult, Report, Statistics, Status, UnexpectedRow
from servers.ingestion.expectations.report_json import report_to_json
from servers.ingestion.expectations.scan import validate
from servers.ingestion.expectations.source import Source
from servers.ingestion.expectations.suggestion import suggest
from servers.ingestion.expectations.suite import Expectation, Severity, Suite
from servers.ingestion.expectations.suite_json import suite_from_json, suite_to_json

__all__ = [
    "Expectation",
    "ExpectationResult",
    "InvalidBatches",
    "InvalidExpectation",
    "InvalidRowCondition",
    "InvalidSuite",
    "Reason",
    "Rejection",
    "Report",
    "Severity",
    "Source",
    "Statistics",
    "Status",
    "Suite",
    "SuiteTooLarge",
    "UnexpectedRow",
    "UnknownExpectation",
    "expectation_types",
    "rejected",
    "report_to_json",
    "suggest",
    "suite_from_json",
    "suite_to_json",
    "validate",
]
