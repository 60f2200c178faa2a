from __future__ import annotations

import stat
from pathlib import Path

from servers.runtime import log_files


def test_a_log_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    log_files.open_log(tmp_path / "a.log").close()
    assert stat.S_IMODE((tmp_path / "a.log").stat().st_mode) == 0o600


def test_a_writer_goes_on_at_the_new_end_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with log_files.open_log(path) as log:
        log.write(b"old\n" * 10)
        assert log_files.rotate(path, size_bytes=39)
        log.write(b"new\n")
    assert path.read_bytes() == b"new\n"
    assert (tmp_path / "a.log.1").read_bytes() == b"old\n" * 10


def test_a_log_within_its_size_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 40)
    assert not log_files.rotate(path, size_bytes=40)
    assert not log_files.rotate(tmp_path / "absent.log", size_bytes=40)
    assert path.stat().st_size == 40


def test_the_tail_has_the_last_lines_and_none_from_before_the_start(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("yesterday\n1\n2\n3\n")
    assert log_files.tail(path, 2) == "2\n3"
    assert log_files.tail(path, 20, since_byte=len("yesterday\n")) == "1\n2\n3"


def test_the_tail_of_a_log_that_was_rotated_since_is_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("short\n")
    assert log_files.tail(path, 5, since_byte=1000) == "short"
    assert log_files.tail(tmp_path / "absent.log", 5) == ""
