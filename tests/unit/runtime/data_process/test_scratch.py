"""Temporary files outlive nobody for long."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

from servers.runtime.data_process.scratch import Scratch

HOLD = """
import sys
from pathlib import Path
from servers.runtime.data_process.scratch import Scratch
scratch = Scratch(Path(sys.argv[1]))
(scratch.new_folder() / "download").write_text("left behind")
print(scratch.folder, flush=True)
sys.stdin.read()
"""


def test_folders_are_for_this_user_alone(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "a" / "b")
    for folder in (tmp_path / "a" / "b", scratch.folder, scratch.new_folder()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    scratch.close()


def test_closing_removes_everything_of_this_pool_alone(tmp_path: Path) -> None:
    first, second = Scratch(tmp_path), Scratch(tmp_path)
    (first.new_folder() / "file").write_text("")
    first.close()
    first.close()
    assert not first.folder.exists()
    assert second.folder.exists()
    second.close()


def test_what_a_killed_server_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        Scratch(tmp_path).close()
        assert left.exists()
        other.send_signal(signal.SIGKILL)
    assert left.exists()
    Scratch(tmp_path).close()
    assert not left.exists()


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "pool-file").write_text("")
    (tmp_path / "upload").mkdir()
    Scratch(tmp_path).close()
    assert {path.name for path in tmp_path.iterdir()} == {"pool-file", "upload", "start.lock"}
