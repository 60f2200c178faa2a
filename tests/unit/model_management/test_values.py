from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_management.errors import InvalidValue
from model_management.files import files_digest
from model_management.model import (
    FileEntry,
    Lineage,
    ModelChanges,
    NewModel,
    NewVersion,
    Stage,
    VersionChanges,
    VersionReference,
)
from model_management.values import check_alias, check_metrics, check_model_name, check_path, check_project, check_request_id

DIGEST = f"sha256:{'0' * 64}"


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", fullmatch=True))
def test_a_name_of_allowed_characters_is_a_name(name):
    assert check_model_name(name) == name


@given(st.text())
def test_any_text_is_a_path_inside_its_folder_or_refused(text):
    try:
        path = check_path(text)
    except InvalidValue as error:
        assert error.field == "path"  # noqa: PT017 - both outcomes are right
    else:
        parts = path.split("/")
        assert not path.startswith("/")
        assert all(part not in {"", ".", ".."} for part in parts)


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "a//b", "a/", "./a", ".", "a\\b", "a\nb", "a\x00", "x" * 1025])
def test_a_path_that_leaves_its_folder_or_is_ambiguous_is_refused(path):
    with pytest.raises(InvalidValue):
        check_path(path)


@pytest.mark.parametrize("project", ["", "A", "-a", "a_b", "x" * 64])
def test_a_wrong_project_is_refused(project):
    with pytest.raises(InvalidValue, match="is no project"):
        check_project(project)


@pytest.mark.parametrize("alias", ["", "1", "v/1", "LATEST"])
def test_a_wrong_alias_is_refused(alias):
    with pytest.raises(InvalidValue):
        check_alias(alias)


def test_an_empty_request_id_is_none():
    assert check_request_id("") is None
    assert check_request_id("3f1c") == "3f1c"
    with pytest.raises(InvalidValue, match="UUID"):
        check_request_id("a b")


def test_metrics_are_numbers_also_strange_ones():
    assert check_metrics({"a": 1, "b": float("inf")}) == {"a": 1.0, "b": float("inf")}
    with pytest.raises(InvalidValue, match=r"metrics\.a: .many. is no number"):
        check_metrics({"a": "many"})
    with pytest.raises(InvalidValue, match="no number"):
        check_metrics({"a": 10**400})


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: NewModel(tags={"": "x"}), "tags"),
        (lambda: NewModel(tags={"k": "x" * 5001}), "tags.k"),
        (lambda: NewModel(tags={"k": 1}), "tags.k"),
        (lambda: NewModel(tags={str(number): "" for number in range(257)}), "tags"),
        (lambda: NewModel(description="x" * 65_537), "description"),
        (lambda: NewModel(description="a\x00b"), "description"),
        (lambda: NewModel(description="\ud800"), "description"),
        (lambda: ModelChanges(display_name="x" * 256), "display_name"),
        (lambda: VersionChanges(metrics={"a": None}), "metrics.a"),
        (lambda: NewVersion(files=(FileEntry("a", DIGEST, 1), FileEntry("a", DIGEST, 1))), "files"),
        (lambda: NewVersion(files=(FileEntry("a", DIGEST, 1), FileEntry("a/b", DIGEST, 1))), "files"),
        (lambda: NewVersion(files=(FileEntry("a", DIGEST, 1),), onnx_path="b"), "onnx_path"),
        (lambda: Lineage(parents=(VersionReference("m", 1), VersionReference("m", 1))), "lineage.parents"),
        (lambda: VersionReference("m", 0), "version"),
        (lambda: VersionReference("m", True), "version"),
        (lambda: Stage.parse("live"), "stage"),
    ],
)
def test_a_wrong_value_names_its_field(make, field):
    with pytest.raises(InvalidValue) as error:
        make()
    assert error.value.field == field


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("0123456789abcdef"), st.integers(0, 9)), unique_by=lambda entry: entry[0])
)
def test_the_digest_of_files_depends_on_content_and_not_on_order(entries):
    files = [FileEntry(path, f"sha256:{digit * 64}", size) for path, digit, size in entries]
    assert files_digest(files) == files_digest(files[::-1])
    if files:
        changed = [FileEntry(f"{files[0].path}x", files[0].digest, files[0].size_bytes), *files[1:]]
        assert files_digest(changed) != files_digest(files)
