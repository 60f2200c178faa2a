"""Which version drift is measured against, and when the newest event was."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from mlops.ingestion.v1.profile_service_pb2 import ColumnProfile

from servers.features.insight.statistics import first_there, moment_of


@pytest.mark.parametrize("gone", range(41))
def test_the_first_version_that_is_there_is_found_in_few_looks(gone: int) -> None:
    looks: list[int] = []

    def look(place: int) -> int | None:
        looks.append(place)
        return place if place >= gone else None

    assert first_there(40, look) == (gone if gone < 40 else None)
    assert len(looks) <= 2 + (0 if gone < 2 else 9)
    assert len(set(looks)) == len(looks)


def test_times_of_every_kind_are_moments() -> None:
    def moment(text: str) -> datetime | None:
        profile = ColumnProfile()
        profile.maximum.string_value = text
        return moment_of(profile)

    assert moment("2026-01-02") == datetime(2026, 1, 2, tzinfo=UTC)
    assert moment("2026-01-02T03:04:05.000006") == datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
    assert moment("2026-01-02T03:00:00+02:00") == datetime(2026, 1, 2, 1, tzinfo=UTC)
    assert moment("+294247-01-10") is moment("") is None
