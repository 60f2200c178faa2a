"""What Airflow is told of this provider. Read at each start of Airflow, so it imports nothing."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "mlmesh"


def get_provider_info() -> dict[str, Any]:
    """Returns the provider as Airflow's schema of providers has it."""
    return {
        "package-name": "airflow-provider-mlmesh",
        "name": "mlmesh",
        "description": "Takes data into the datasets of an mlmesh, runs processing jobs over them, and waits.",
        "integrations": [{"integration-name": _INTEGRATION, "tags": ["service"]}],
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": ["mlmesh_airflow.hook"]}],
        "operators": [
            {"integration-name": _INTEGRATION, "python-modules": ["mlmesh_airflow.ingest_data", "mlmesh_airflow.processing_job"]}
        ],
        "sensors": [
            {"integration-name": _INTEGRATION, "python-modules": ["mlmesh_airflow.ingestion_sensor", "mlmesh_airflow.processing_sensor"]}
        ],
        "triggers": [
            {"integration-name": _INTEGRATION, "python-modules": ["mlmesh_airflow.ingestion_trigger", "mlmesh_airflow.processing_trigger"]}
        ],
        "connection-types": [{"connection-type": "mlmesh", "hook-class-name": "mlmesh_airflow.hook.MlmeshHook", "hook-name": "mlmesh"}],
    }
