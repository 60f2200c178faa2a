"""Whether the kernel killed a process because memory ran out. It sends the same SIGKILL as anybody else, and only counts apart."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


class MemoryKills:
    """Counts kills for want of memory where a process runs, from now on.

    The count is that of the innermost control group which has one (memory.events of version 2, memory.oom_control of version 1), else that
    of the machine (/proc/vmstat).

    Args:
        pid: The process.
        proc: Where procfs is.
        cgroups: Where the control groups are.
    """

    def __init__(self, pid: int, *, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        candidates = [*_group_files(proc / str(pid) / "cgroup", cgroups), proc / "vmstat"]
        self._file = next((file for file in candidates if _count(file) is not None), None)
        self._before = self._now()

    def has_grown(self) -> bool:
        """Whether any process there was killed for want of memory since this was made."""
        return self._now() > self._before

    def _now(self) -> int:
        return (_count(self._file) or 0) if self._file is not None else 0


def _group_files(membership: Path, cgroups: Path) -> list[Path]:
    files = []
    for line in _text(membership).splitlines():
        _, controllers, group = line.split(":", 2)
        inside = str(PurePosixPath(group).relative_to("/"))
        if not controllers:
            files += [cgroups / inside / "memory.events", cgroups / "memory.events"]
        elif "memory" in controllers.split(","):
            files += [cgroups / "memory" / inside / "memory.oom_control", cgroups / "memory" / "memory.oom_control"]
    return files


def _count(file: Path) -> int | None:
    """The number behind `oom_kill`; None where there is none."""
    for line in _text(file).splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace")
    except OSError:
        return ""
