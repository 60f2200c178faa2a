"""What a dataset has in it, from sketches of its data files. Each file is read once, whatever versions it is part of.

Sketches and pages are loaded when they are needed: each data process would start with them otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from servers.ingestion.data_process.validating import validate
from servers.ingestion.data_process.workplace import Workplace
from servers.ingestion.pages import ingestion_page, profile_page, validation_page
from servers.ingestion.tables.data_files import DataFiles
from servers.runtime.data_process.messages import OnProgress

if TYPE_CHECKING:
    from servers.ingestion.profiles.sketches import TableSketch


def profile(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Describes a version of a dataset. Sketches that are missing are made and kept."""
    from servers.ingestion.profiles.description import profile_object
    from servers.ingestion.profiles.sketches import TableSketch

    files = _data_files(workplace, arguments)
    whole = TableSketch()
    for sketch in _sketches(files):
        whole.merge(sketch)
    return profile_object(arguments["dataset"], files.version, files.schema, whole)


def sketch(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> int:
    """Makes and keeps the sketches that a version has none of; returns how many that were."""
    files = _data_files(workplace, arguments)
    noted = {path for path, data in files.noted(files.paths) if _read(data) is not None}
    missing = [path for path in files.paths if path not in noted]
    for path in missing:
        _made(files, path)
    if missing:
        files.is_still_there()
    return len(missing)


def render_profile(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> str:
    """Describes a version of a dataset as an HTML page."""
    return profile_page(profile(workplace, arguments, on_progress), project=arguments["project"])


def render_ingestion(_workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> str:
    """Describes an ingestion as an HTML page."""
    return ingestion_page(arguments["ingestion"])


def render_validation(workplace: Workplace, arguments: Mapping[str, Any], on_progress: OnProgress) -> str:
    """Checks a dataset or a source as `validate` does, and describes the report as an HTML page."""
    return validation_page(validate(workplace, arguments, on_progress), subject=arguments.get("dataset") or arguments["subject"])


def _data_files(workplace: Workplace, arguments: Mapping[str, Any]) -> DataFiles:
    return workplace.tables.table(arguments["project"], arguments["dataset"]).data_files(arguments.get("version"))


def _sketches(files: DataFiles) -> Iterator[TableSketch]:
    """Gives the sketch of each file, those that are kept first."""
    missing = set(files.paths)
    for path, data in files.noted(files.paths):
        known = _read(data)
        if known is not None:
            missing.discard(path)
            yield known
    made = [path for path in files.paths if path in missing]
    for path in made:
        yield _made(files, path)
    if made:
        files.is_still_there()


def _made(files: DataFiles, path: str) -> TableSketch:
    from servers.ingestion.profiles.sketches import TableSketch

    found = TableSketch.of(files.batches(path))
    files.note(path, found.to_bytes())
    return found


def _read(data: bytes) -> TableSketch | None:
    from servers.ingestion.profiles.sketches import SketchUnreadable, TableSketch

    try:
        return TableSketch.from_bytes(data)
    except SketchUnreadable:
        # Of a later version, or damaged: it is made anew.
        return None
