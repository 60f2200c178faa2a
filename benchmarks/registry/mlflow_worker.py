"""One caller of MLflow. Runs in MLflow's own venv, told what to do line by line; see `workers`.

python mlflow_worker.py TRACKING_URI ARTIFACT_ROOT
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

# Installed in a venv of its own, where this runs as a script: its folder is on the path, and nothing else of ours.
import mlflow  # type: ignore[import-not-found]
from callers import seconds_of  # type: ignore[import-not-found]
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts  # type: ignore[import-not-found]

NAME = "bench"


class Caller:
    """Saves and loads as users of MLflow do.

    Args:
        uri: A server, or a database where there is none.
        artifact_root: Where files go; empty = the server decides.
    """

    def __init__(self, uri: str, artifact_root: str) -> None:
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        self._client = MlflowClient()
        experiment = self._client.create_experiment(NAME, artifact_location=artifact_root or None)
        self._run = self._client.create_run(experiment).info
        self._client.create_registered_model(NAME)
        self._saved = ""

    def versions(self, count: int, callers: int) -> float:
        """Creates versions with small metadata; returns seconds."""
        return float(seconds_of(self._create_version, count, callers))

    def _create_version(self, number: int) -> None:
        tags = {"team": "a", "number": str(number)}
        self._client.create_model_version(
            NAME, f"{self._run.artifact_uri}/weights", self._run.run_id, tags=tags, description="Retrained", await_creation_for=None
        )

    def save(self, path: str) -> float:
        """Saves a file as a version; returns seconds."""
        started = time.perf_counter()
        folder = Path(path).name
        self._client.log_artifact(self._run.run_id, path, folder)
        version = self._client.create_model_version(NAME, f"{self._run.artifact_uri}/{folder}", self._run.run_id, await_creation_for=None)
        seconds = time.perf_counter() - started
        self._saved = version.version
        return seconds

    def load(self, path: str) -> float:
        """Loads the version saved last into a new folder; returns seconds."""
        started = time.perf_counter()
        Path(path).mkdir(parents=True)
        download_artifacts(artifact_uri=f"models:/{NAME}/{self._saved}", dst_path=path)
        return time.perf_counter() - started


if __name__ == "__main__":
    # MLflow prints to the standard output, which is the way back.
    answers, sys.stdout = sys.stdout, sys.stderr
    caller = Caller(*sys.argv[1:3])
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(getattr(caller, name)(*arguments), file=answers, flush=True)
