"""Validates a table by Great Expectations itself: `python validate.py table.json suite.json result.json`."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import great_expectations as gx
import pandas as pd
from great_expectations.expectations.registry import get_expectation_impl

TYPES = {"int": "int64", "float": "float64", "text": "object", "truth": "bool", "time": "datetime64[us]"}


def main(table: str, suite: str, result: str) -> None:
    warnings.simplefilter("ignore")
    columns = json.loads(Path(table).read_text())
    frame = pd.DataFrame({name: pd.Series(column["values"], dtype=TYPES[column["type"]]) for name, column in columns.items()})
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    answers = []
    for entry in json.loads(Path(suite).read_text())["expectations"]:
        try:
            expectation = get_expectation_impl(entry["type"])(**entry["kwargs"])
        except ValueError as error:
            answers.append({"success": False, "result": {}, "exception_info": {"raised_exception": True, "exception_message": str(error)}})
            continue
        answers.append(batch.validate(expectation, result_format={"result_format": "COMPLETE"}).to_json_dict())
    Path(result).write_text(json.dumps({"version": gx.__version__, "results": answers}, default=plain))


def plain(value: object) -> object:
    """GX leaves scalars of NumPy in its JSON."""
    return value.item() if hasattr(value, "item") else str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
