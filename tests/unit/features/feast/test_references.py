"""References mean versions of views, and have the names that Feast gives."""

from __future__ import annotations

import pytest

from servers.features.feast.errors import FeatureNameCollision, InvalidFeastRequest
from servers.features.feast.references import selections_of


def test_views_are_in_the_order_in_which_they_are_first_named() -> None:
    found = selections_of(["b:x", "a:y", "b:z", "b@v2:x", "b@3:x", "b@latest:w"])

    assert [(each.view, each.version, list(each.features), each.prefix) for each in found] == [
        ("b", 0, ["x", "z", "w"], "b__"),
        ("a", 0, ["y"], "a__"),
        ("b", 2, ["x"], "b@v2__"),
        ("b", 3, ["x"], "b@v3__"),
    ]


@pytest.mark.parametrize("reference", ["x", "a:", ":x", "a:b:c", "a@x:b", "a@v:b", "ä:b", "a b:c", "a:b\n", 7, None, "a:" + "x" * 129])
def test_what_is_no_reference_is_refused_by_its_place(reference: object) -> None:
    with pytest.raises(InvalidFeastRequest, match=r"features\[1\]"):
        selections_of(["a:x", reference])  # type: ignore[list-item]


def test_nothing_and_too_much_are_refused() -> None:
    with pytest.raises(InvalidFeastRequest, match="feature_service"):
        selections_of([])
    with pytest.raises(InvalidFeastRequest, match="at most 40"):
        selections_of([f"view{number}:x" for number in range(41)])


def test_a_feature_that_is_asked_for_twice_is_refused() -> None:
    with pytest.raises(FeatureNameCollision, match="a:x"):
        selections_of(["a:x", "a:y", "a:x"])
