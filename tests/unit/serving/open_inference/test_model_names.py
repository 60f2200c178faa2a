from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.errors import PermissionDenied
from servers.serving.errors import InvalidModelChoice
from servers.serving.model_source import ModelChoice
from servers.serving.open_inference.errors import InvalidInferRequest, UnservedExtension
from servers.serving.open_inference.model_names import choice_of, project_of
from servers.serving.open_inference.repository_parameters import choice_of_load, choice_of_unload


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("", ModelChoice("p", "m")),
        ("3", ModelChoice("p", "m", version=3)),
        ("007", ModelChoice("p", "m", version=7)),
        ("champion", ModelChoice("p", "m", alias="champion")),
        ("v2", ModelChoice("p", "m", alias="v2")),
    ],
)
def test_a_version_is_a_number_an_alias_or_the_default(version: str, expected: ModelChoice) -> None:
    assert choice_of("m", version, "p") == expected


@pytest.mark.parametrize("version", ["0", "00", "99999999999999999999"])
def test_a_number_that_no_version_has_is_refused(version: str) -> None:
    with pytest.raises(InvalidModelChoice, match=f"`{version}` is no version"):
        choice_of("m", version, "p")


@given(st.text(), st.text(), st.text())
def test_no_name_and_no_version_breaks_anything(name: str, version: str, project: str) -> None:
    with contextlib.suppress(InvalidModelChoice):
        choice_of(name, version, project)


def test_the_project_is_that_of_the_call_unless_a_parameter_names_another() -> None:
    assert project_of("") == "default"
    assert project_of("fares") == "fares"


def test_a_parameter_opens_no_project_to_those_who_may_not_enter() -> None:
    with pytest.raises(PermissionDenied, match=r"lacks the permission 'serving.models.predict' in project 'secret'"):
        project_of("secret")


@pytest.mark.parametrize("version", ["2", 2])
def test_load_and_unload_take_the_version_as_a_parameter(version: object) -> None:
    expected = ModelChoice("default", "m", version=2)

    assert choice_of_load("m", {"mlmesh_version": version}) == choice_of_unload("m", {"mlmesh_version": version}) == expected


def test_parameters_of_triton_that_change_nothing_here_are_passed_over() -> None:
    assert choice_of_unload("m", {"unload_dependents": True}) == ModelChoice("default", "m")


@pytest.mark.parametrize("name", ["config", "file:1/model.onnx"])
def test_a_load_brings_neither_files_nor_a_configuration(name: str) -> None:
    with pytest.raises(UnservedExtension, match="come from the registry"):
        choice_of_load("m", {name: "{}"})


def test_a_version_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidInferRequest, match="expected a version number or an alias; got true"):
        choice_of_load("m", {"mlmesh_version": True})
