"""Any folder of files, or a single file, as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from model_management.formats.artifact import ARTIFACT_FILE, Format, LoadRequest, SaveRequest, existing
from model_management.formats.errors import ArtifactDamaged, UnknownModelType

__all__ = ["FORMAT"]

_FILES = "files"


def _save(model: Any, folder: Path, request: SaveRequest) -> dict[str, Any]:
    del request
    source = Path(model)
    target = folder / _FILES
    if source.is_file() and not source.is_symlink():
        target.mkdir()
        shutil.copyfile(source, target / source.name)
        return {"kind": "file", "file": source.name}
    if not source.is_dir():
        raise UnknownModelType(f"{str(source)!r} is neither a file nor a folder")
    copied = 0
    for parent, folders, files in os.walk(source, followlinks=False):
        relative = Path(parent).relative_to(source)
        (target / relative).mkdir()
        for name in [*folders, *files]:
            path = Path(parent) / name
            # A link would be followed by whoever stores the folder, to wherever it points.
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise UnknownModelType(f"{str(relative / name)!r} is a link or a device; a folder is saved with plain files only")
        for name in files:
            shutil.copyfile(Path(parent) / name, target / relative / name)
            copied += 1
    if copied == 0:
        raise UnknownModelType(f"the folder {str(source)!r} has no files")
    return {"kind": "folder"}


def _load(folder: Path, request: LoadRequest) -> Any:
    if not request.description:
        # Made by somebody else: the folder itself is what was kept.
        return folder
    target = existing(folder / _FILES)
    if request.description.get("kind") != "file":
        return target
    name = request.description.get("file")
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ArtifactDamaged(f"{ARTIFACT_FILE} names no file of the folder")
    return existing(target / name)


FORMAT = Format("folder", _save, _load)
