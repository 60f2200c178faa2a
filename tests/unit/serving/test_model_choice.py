from __future__ import annotations

import pytest

from servers.serving.engine import JsonCall, chosen
from servers.serving.errors import InvalidModelChoice
from servers.serving.json_body import BodyParser
from servers.serving.model_source import ModelChoice, model_choice

PARSER = BodyParser(10_000, 10)


def test_an_empty_project_is_the_default_one():
    assert model_choice("m") == ModelChoice("default", "m")


def test_a_stage_may_be_written_in_any_case():
    assert model_choice("m", stage="Production").stage == "production"


@pytest.mark.parametrize(
    ("choice", "fields", "message"),
    [
        ({"name": ""}, ["model"], "no model is named"),
        ({"name": "../m"}, ["model"], "cannot be the name of a model"),
        ({"name": "m", "version": 1, "alias": "a"}, ["version", "alias"], "by one of version, alias and stage; got version and alias"),
        ({"name": "m", "alias": "a", "stage": "staging"}, ["alias", "stage"], "got alias and stage"),
        ({"name": "m", "stage": "prod"}, ["stage"], "unknown stage `prod`; stages are none, development, staging, production, archived"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(choice, fields, message):
    with pytest.raises(InvalidModelChoice, match=message) as raised:
        model_choice(**choice)

    assert [field for field, _ in raised.value.field_violations] == fields


def test_path_query_and_body_add_up():
    call = JsonCall(b"", project="p", model="m")

    assert chosen(call, PARSER.parse(b'{"instances": [], "alias": "champion"}')) == ModelChoice("p", "m", alias="champion")


def test_path_and_body_may_say_the_same():
    assert chosen(JsonCall(b"", model="m"), PARSER.parse(b'{"instances": [], "model": "m"}')).name == "m"


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        (JsonCall(b"", model="m"), b'{"instances": [], "model": "n"}', "body.model"),
        (JsonCall(b"", model="m", version=1), b'{"instances": [], "version": 2}', "body.version"),
        (JsonCall(b"", model="m", stage="staging"), b'{"instances": [], "stage": "production"}', "body.stage"),
    ],
)
def test_path_query_and_body_must_not_differ(call, body, field):
    with pytest.raises(InvalidModelChoice, match="say it once") as raised:
        chosen(call, PARSER.parse(body))

    assert raised.value.field_violations[0][0] == field


def test_query_and_body_together_choose_once():
    with pytest.raises(InvalidModelChoice, match="got version and alias"):
        chosen(JsonCall(b"", model="m", version=1), PARSER.parse(b'{"instances": [], "alias": "a"}'))
