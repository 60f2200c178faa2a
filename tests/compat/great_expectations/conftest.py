"""The oracle runs in Great Expectations' own venv, by `test_great_expectations`."""

collect_ignore = ["oracle"]
