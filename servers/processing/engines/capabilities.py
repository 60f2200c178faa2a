"""Which engines this installation has. Nothing is imported or started to find out."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from servers.processing.engines.kinds import EngineKind, EngineSettings

_OLDEST_JAVA = 17
_PACKAGES = {
    EngineKind.LOCAL: ("duckdb", "pyarrow"),
    EngineKind.RAY: ("ray", "duckdb", "pyarrow"),
    EngineKind.DASK: ("distributed", "dask", "duckdb", "pyarrow"),
    EngineKind.SPARK: ("pyspark", "duckdb", "pyarrow"),
}
_EXTRAS = {
    EngineKind.LOCAL: "processing",
    EngineKind.RAY: "processing-ray",
    EngineKind.DASK: "processing-dask",
    EngineKind.SPARK: "processing-spark",
}


@dataclass(frozen=True)
class Availability:
    """Whether an engine can be opened.

    Args:
        is_available: Whether everything it needs is installed. Whether a cluster answers is found out when it is opened.
        version: Of the library that runs the tasks; empty if it is missing.
        reason: What is missing and how to get it; empty if nothing is.
    """

    is_available: bool
    version: str
    reason: str


def availability(kind: EngineKind, settings: EngineSettings) -> Availability:
    """Says whether an engine can be opened, and if not, what to install.

    Args:
        kind: Which engine.
        settings: With which it would be opened.
    """
    found = {name: _version(name) for name in _PACKAGES[kind]}
    missing = [name for name, its in found.items() if not its]
    if missing:
        needed = f"the packages {', '.join(missing)} are" if len(missing) > 1 else f"the package {missing[0]} is"
        return Availability(False, found[_PACKAGES[kind][0]], f"{needed} missing; install 'mlmesh[{_EXTRAS[kind]}]'")
    reason = _java_missing() if kind is EngineKind.SPARK else ""
    if kind is EngineKind.RAY and settings.address.startswith("ray://"):
        reason = (
            "Ray Client (ray://) cannot take a task's chunks one by one; start this process on a machine of the cluster, with host:6379"
        )
    if not reason and settings.spill_folder is not None and not settings.spill_folder.is_dir():
        reason = f"the spill folder {settings.spill_folder} is no folder; create it"
    return Availability(not reason, found[_PACKAGES[kind][0]], reason)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _java_missing() -> str:
    """Why there is no Java that Spark can use; empty if there is one. Spark's driver is a JVM, also where a cluster does the work."""
    how = (
        f"Spark needs Java {_OLDEST_JAVA} or newer: install it (Debian: openjdk-17-jre-headless) and have `java` on PATH, or set JAVA_HOME"
    )
    home = os.environ.get("JAVA_HOME", "")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        return f"there is no `java` {'below JAVA_HOME' if home else 'on PATH'}; {how}"
    # Every JDK and JRE since 9 has this file; without it Spark itself has to say what is wrong.
    release = Path(java).resolve().parent.parent / "release"
    found = re.search(r'JAVA_VERSION="(?:1\.)?(\d+)', release.read_text()) if release.is_file() else None
    if found and int(found[1]) < _OLDEST_JAVA:
        return f"{java} is Java {found[1]}; {how}"
    return ""
