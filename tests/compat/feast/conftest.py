"""The oracle runs in Feast's own venv, by `test_feast`."""

collect_ignore = ["oracle"]
