from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blob_store import LocalBlobStore
from model_management.storage import ArtifactStorage

LATER = datetime.now(UTC) + timedelta(days=31)
SAVE_AND_DIE = """
import os, sys
from pathlib import Path
from blob_store import LocalBlobStore
from model_management.storage import ArtifactStorage
with ArtifactStorage(LocalBlobStore(Path(sys.argv[1]) / "blobs"), Path(sys.argv[1]) / "work").folder():
    os._exit(9)
"""


@pytest.fixture
def storage(tmp_path: Path) -> ArtifactStorage:
    return ArtifactStorage(LocalBlobStore(tmp_path / "blobs"), tmp_path / "work")


def test_a_folder_that_is_worked_on_is_left_alone_however_long_ago_it_began(storage: ArtifactStorage, tmp_path: Path) -> None:
    other = ArtifactStorage(LocalBlobStore(tmp_path / "blobs"), tmp_path / "work")
    with storage.folder() as folder:
        assert other.clean(LATER) == 0
        assert folder.is_dir()
    assert not folder.exists()


def test_a_folder_of_a_process_that_died_is_taken_away(storage: ArtifactStorage, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    died = subprocess.run([sys.executable, "-c", SAVE_AND_DIE, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(root)}, timeout=60)
    assert died.returncode == 9

    assert storage.clean(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert storage.clean(LATER) == 1
    assert list((tmp_path / "work").iterdir()) == []
