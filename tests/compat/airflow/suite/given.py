"""Where the mesh is; it comes from the test that started it."""

from __future__ import annotations

import json
import os
from pathlib import Path

_GIVEN = json.loads(os.environ["SUITE"])
URL: str = _GIVEN["url"]
API_KEY: str = _GIVEN["api_key"]
LANDING = Path(_GIVEN["landing"])
DATA_DIR = Path(_GIVEN["data_dir"])
# Airflow's own, in PostgreSQL: SQLite answers "database is locked" as soon as a few of its processes write at once.
DATABASE: str = _GIVEN["database"]
# Of the whole Airflow alone, whose scheduler would take up the runs of the others.
DEPLOYMENT_DATABASE: str = _GIVEN["deployment_database"]
