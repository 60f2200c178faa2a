"""What Airflow is told of the provider."""

from __future__ import annotations

import json
import subprocess


def airflow(*arguments: str) -> list[dict[str, str]]:
    done = subprocess.run(["airflow", *arguments, "--output", "json"], capture_output=True, text=True, check=True, timeout=120)
    listed: list[dict[str, str]] = json.loads(done.stdout[done.stdout.index("[{") :])
    return listed


def test_airflow_lists_the_provider() -> None:
    assert "airflow-provider-mlmesh" in [provider["package_name"] for provider in airflow("providers", "list")]


def test_airflow_lists_the_hook() -> None:
    hooks = {hook["connection_type"]: hook for hook in airflow("providers", "hooks")}

    assert hooks["mlmesh"]["class"] == "mlmesh_airflow.hook.MlmeshHook"
    assert hooks["mlmesh"]["conn_id_attribute_name"] == "mlmesh_conn_id"


def test_every_dag_is_read() -> None:
    assert "deferring_operator" in [dag["dag_id"] for dag in airflow("dags", "list", "--local")]
