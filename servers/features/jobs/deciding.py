"""How much of a dataset a materialisation reads, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass

from servers.features.definitions.records import OnlineState
from servers.features.jobs.records import MaterializeMode


@dataclass(frozen=True)
class Difference:
    """What changed of a dataset since it was last materialised.

    Args:
        table_id: Of its table now.
        added: Files that came.
        removed: Files that went.
        full_reason: Why nobody can say what changed; empty otherwise.
    """

    table_id: str
    added: int = 0
    removed: int = 0
    full_reason: str = ""


@dataclass(frozen=True)
class Decision:
    """What a materialisation does.

    Args:
        effective_mode: FULL where all rows are read.
        builds_generation: Whether the rows make a generation of their own, so that afterwards the online store has nothing else.
        is_nothing: Whether no row is read.
    """

    effective_mode: MaterializeMode
    builds_generation: bool = False
    is_nothing: bool = False


_NOTHING = Decision(MaterializeMode.INCREMENTAL, is_nothing=True)
_ADDED = Decision(MaterializeMode.INCREMENTAL)
_EVERYTHING = Decision(MaterializeMode.FULL)
_ANEW = Decision(MaterializeMode.FULL, builds_generation=True)


def decided(state: OnlineState, mode: MaterializeMode, version: int, difference: Difference) -> Decision:
    """Returns what a materialisation does.

    What rows were taken away or replaced can only be seen by building a generation without them. Where rows were only added, however old
    their events, writing them into the generation that is read is enough: of each entity the newest stays.

    Args:
        state: How the online store stands.
        mode: What was asked for.
        version: Of the dataset now.
        difference: Between that and the version that was last materialised.
    """
    is_same_table = state.table_id == difference.table_id
    if mode is MaterializeMode.FULL:
        return _ANEW
    if state.dataset_version is None:
        return _EVERYTHING
    if not is_same_table or difference.full_reason or difference.removed:
        return _ANEW
    if state.has_skipped_rows:
        # Their time may have come, and only reading all files finds them.
        return _EVERYTHING
    return _NOTHING if state.dataset_version == version or not difference.added else _ADDED
