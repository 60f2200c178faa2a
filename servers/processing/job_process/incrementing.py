"""Brings the outputs of a pipeline up to date: only what changed is computed, into files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from servers.processing.engines.opening import EngineKind, EngineSettings, open_engine
from servers.processing.incremental.changed_rows import TouchedRows
from servers.processing.incremental.errors import KeysNotKept, NotIncremental
from servers.processing.incremental.results import Writing
from servers.processing.incremental.running import InputVersions, OutputVersion, incremental_results
from servers.processing.job_process.computing import OutputTooLarge, Progress, written
from servers.processing.job_process.judging import keys_of
from servers.processing.job_process.reading import read_plan
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.limits import PlanLimits
from servers.runtime.data_process.messages import OnProgress
from servers.runtime.tables.changes import changes
from servers.runtime.tables.errors import FullRecomputationNeeded, TableGone, VersionExpired, VersionNotFound
from servers.runtime.tables.storage import TableStorage

_LOGGER = logging.getLogger("processing")


def increment(arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Computes what outputs become after their inputs changed.

    Args:
        arguments: As `compute`; `keys`: as `keys_of` takes them; `old_versions`: of the inputs, by name; `old_outputs`: of each step `uri`,
            `base_version` that the run before wrote, and `version` that there is now.
        on_progress: Told how many rows there are.

    Returns:
        `full_reason`: why everything has to be computed; else it is empty, and there are `outputs`, of each step `writing`, `keys`, `rows`
        and `file`, `changed_rows` and `touched_keys`.
    """
    try:
        return _incremented(arguments, on_progress)
    except FullRecomputationNeeded as error:
        return {"full_reason": error.because}
    except (NotIncremental, KeysNotKept, TableGone, VersionExpired, VersionNotFound) as error:
        return {"full_reason": error.message}


def _incremented(arguments: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    storage, limits = TableStorage(**arguments["storage"]), PlanLimits(**arguments["limits"])
    old_outputs, old_versions = arguments["old_outputs"], arguments["old_versions"]
    for step, output in old_outputs.items():
        _check_untouched(step, output, storage)
    # The plan of a SELECT is made of the columns that the inputs have now.
    plan = read_plan(arguments).plan
    inputs = {name: InputVersions(given["uri"], old_versions[name], given["version"]) for name, given in arguments["inputs"].items()}
    outputs = {step: OutputVersion(output["uri"], output["version"]) for step, output in old_outputs.items()}
    folder, most_bytes = Path(arguments["folder"]), arguments["most_output_bytes"]
    settings = {**arguments["engine_settings"], "spill_folder": Path(arguments["engine_settings"]["spill_folder"])}
    progress, found, left = Progress(on_progress), {}, most_bytes
    touched: list[TouchedRows] = []
    with (
        open_engine(EngineKind(arguments["engine"]), EngineSettings(**settings)) as engine,
        incremental_results(
            plan, keys_of(arguments["keys"]), inputs, outputs, storage, engine, Cancellation(), limits=limits, on_touched=touched.append
        ) as results,
    ):
        for place, (step, result) in enumerate(results.items()):
            if result.writing is Writing.NOTHING:
                found[step] = {"writing": result.writing.value, "rows": 0}
                _LOGGER.info("output %s: nothing changes", step)
                continue
            file = folder / f"{place}.parquet"
            rows = written(result.rows, file, step, left, progress.add, partial(OutputTooLarge, step, most_bytes))
            left -= file.stat().st_size
            is_nothing = result.writing is Writing.APPEND and not rows
            writing = Writing.NOTHING if is_nothing else result.writing
            found[step] = {"writing": writing.value, "keys": list(result.keys), "rows": rows, "file": str(file)}
            _LOGGER.info("output %s: %s of %d rows", step, writing.value, rows)
    progress.tell()
    changed = sum(sum(each.added.values()) + sum(each.removed.values()) for each in touched)
    return {"full_reason": "", "outputs": found, "changed_rows": changed, "touched_keys": sum(each.keys.num_rows for each in touched)}


def _check_untouched(step: str, output: Mapping[str, Any], storage: TableStorage) -> None:
    """Lets outputs pass that have the rows of the run before, also where files were only joined since."""
    base, now = output["base_version"], output["version"]
    if base != now and not changes(output["uri"], base, now, storage).is_nothing:
        raise FullRecomputationNeeded(f"somebody else wrote into output {step!r}: the last run left version {base}, and there is {now}")
