"""Great Expectations in a venv of its own: `python gx_worker.py table.parquet suite.json`, prints seconds and verdict."""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

started = time.perf_counter()
import great_expectations as gx  # noqa: E402
import pandas as pd  # noqa: E402
from great_expectations.expectations.registry import get_expectation_impl  # noqa: E402

imported = time.perf_counter()


def main(table: str, suite: str) -> None:
    """Reads the table, validates it, and prints a line of JSON."""
    warnings.simplefilter("ignore")
    begun = time.perf_counter()
    frame = pd.read_parquet(table)
    read = time.perf_counter()
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    entries = json.loads(Path(suite).read_text())["expectations"]
    expectations = gx.ExpectationSuite(name="flights", expectations=[get_expectation_impl(one["type"])(**one["kwargs"]) for one in entries])
    result = batch.validate(expectations, result_format={"result_format": "SUMMARY", "partial_unexpected_count": 20})
    ended = time.perf_counter()
    met = [bool(one.success) for one in result.results]
    # GX gives results in an order of its own.
    print(json.dumps({"import_s": imported - started, "read_s": read - begun, "validate_s": ended - read, "met": sum(met)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
