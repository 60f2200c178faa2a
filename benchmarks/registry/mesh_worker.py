"""One caller of mlmesh, told what to do line by line; see `workers`.

python -m benchmarks.registry.mesh_worker served URL        (the token is in MLMESH_TOKEN)
python -m benchmarks.registry.mesh_worker library FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import mlmesh

from benchmarks.registry.callers import seconds_of
from model_management import FileEntry, create_registry
from model_management.model import NewVersion

NAME = "bench"
DESCRIPTION = "Retrained"


class ServedCaller:
    """Saves and loads through the gateway.

    Args:
        url: The mesh.
    """

    def __init__(self, url: str) -> None:
        self._registry = mlmesh.connect(url).registry
        self._saved = 0

    def prepare(self, path: str) -> float:
        """Stores the small file that versions refer to."""
        self._file = self._registry.upload_file(path)
        self._registry.create_model(NAME)
        return 0.0

    def versions(self, count: int, callers: int) -> float:
        """Creates versions with small metadata; returns seconds."""
        return seconds_of(self._create_version, count, callers)

    def _create_version(self, number: int) -> None:
        self._registry.create_model_version(NAME, files=[self._file], tags={"team": "a", "number": str(number)}, description=DESCRIPTION)

    def save(self, path: str) -> float:
        """Saves a file as a version; returns seconds."""
        started = time.perf_counter()
        self._saved = self._registry.push_version(NAME, path).version
        return time.perf_counter() - started

    def load(self, path: str) -> float:
        """Loads the version saved last into a new folder; returns seconds."""
        started = time.perf_counter()
        self._registry.pull_version(NAME, path, version=self._saved)
        return time.perf_counter() - started


class LibraryCaller:
    """Saves and loads in this process, with SQLite and files in a folder.

    Args:
        folder: Where to.
    """

    def __init__(self, folder: str) -> None:
        self._registry = create_registry("database", path=folder)
        self._saved = 0

    def prepare(self, path: str) -> float:
        """Stores the small file that versions refer to."""
        blob = self._registry.storage.blobs.put_file(Path(path))
        self._file = FileEntry("weights", blob.digest, blob.size_bytes)
        self._registry.create_model(NAME)
        return 0.0

    def versions(self, count: int, callers: int) -> float:
        """Creates versions with small metadata; returns seconds."""
        return seconds_of(self._create_version, count, callers)

    def _create_version(self, number: int) -> None:
        new = NewVersion(description=DESCRIPTION, tags={"team": "a", "number": str(number)}, files=(self._file,))
        self._registry.metadata_backend.backend.create_version(self._registry.project, NAME, new)

    def save(self, path: str) -> float:
        """Saves a file as a version; returns seconds."""
        started = time.perf_counter()
        self._saved = self._registry.save_model(path, NAME).version
        return time.perf_counter() - started

    def load(self, path: str) -> float:
        """Loads the version saved last into a new folder; returns seconds."""
        started = time.perf_counter()
        self._registry.download(NAME, path, self._saved)
        return time.perf_counter() - started


if __name__ == "__main__":
    kind, place = sys.argv[1:3]
    caller = ServedCaller(place) if kind == "served" else LibraryCaller(place)
    print("ready", flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(getattr(caller, name)(*arguments), flush=True)
