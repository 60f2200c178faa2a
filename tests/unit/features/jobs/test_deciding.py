"""How much of a dataset a materialisation reads, and where it goes."""

from __future__ import annotations

from dataclasses import replace

from servers.features.definitions.records import OnlineState
from servers.features.jobs.deciding import Decision, Difference, decided
from servers.features.jobs.records import MaterializeMode

INCREMENTAL, FULL = MaterializeMode
BEFORE = OnlineState(dataset_version=3, table_id="t")
NOTHING = Decision(INCREMENTAL, is_nothing=True)
ADDED = Decision(INCREMENTAL)
EVERYTHING = Decision(FULL)
ANEW = Decision(FULL, builds_generation=True)


def test_only_what_was_added_is_read_where_nothing_was_taken_away() -> None:
    assert decided(BEFORE, INCREMENTAL, 4, Difference("t", added=2)) == ADDED
    assert decided(BEFORE, INCREMENTAL, 3, Difference("t")) == NOTHING
    assert decided(BEFORE, INCREMENTAL, 4, Difference("t")) == NOTHING


def test_where_rows_may_be_gone_a_generation_without_them_is_built() -> None:
    assert decided(BEFORE, INCREMENTAL, 4, Difference("t", added=1, removed=1)) == ANEW
    assert decided(BEFORE, INCREMENTAL, 4, Difference("t", full_reason="its files were vacuumed")) == ANEW
    assert decided(BEFORE, INCREMENTAL, 0, Difference("another", added=1)) == ANEW
    assert decided(replace(BEFORE, has_skipped_rows=True), INCREMENTAL, 4, Difference("t", removed=1)) == ANEW


def test_everything_goes_to_where_vectors_are_read_the_first_time_and_where_rows_were_left_out() -> None:
    assert decided(OnlineState(), INCREMENTAL, 0, Difference("t", added=1)) == EVERYTHING
    assert decided(replace(BEFORE, has_skipped_rows=True), INCREMENTAL, 3, Difference("t")) == EVERYTHING


def test_who_asks_for_everything_gets_what_the_dataset_says_and_nothing_else() -> None:
    assert decided(OnlineState(), FULL, 0, Difference("t")) == ANEW
    assert decided(BEFORE, FULL, 3, Difference("t")) == ANEW
