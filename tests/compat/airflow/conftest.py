"""The suite runs in Airflow's own venv, by `test_airflow`."""

collect_ignore = ["suite"]
