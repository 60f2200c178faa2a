"""Path templates. That they agree with Envoy's is proved behind a real Envoy, in tests/integration/gateway/test_lane_parity.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.api import http_pb2
from hypothesis import given
from hypothesis import strategies as st

from gateway.configuration import read_contracts
from gateway.settings import GatewaySettings
from servers.runtime.lane.templates import PathTemplate, Variables, http_rules, pattern_of

segments = st.text(st.sampled_from("ab1.-_~%:@!$&'()*+,;="), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("template", "path", "found"),
    [
        ("/models", "/models", ()),
        ("/models", "/models/", None),
        ("/models/{model}", "/models/a", (("model", "a"),)),
        ("/models/{model}", "/models/a%2Fb", (("model", "a%2Fb"),)),
        ("/models/{model}", "/models/a/b", None),
        ("/models/{model}", "/models/", None),
        ("/models/{model}", "/models/a:verify", None),
        ("/models/{model}:verify", "/models/a:verify", (("model", "a"),)),
        ("/models/{model}:verify", "/models/a:b:verify", (("model", "a:b"),)),
        ("/models/{model}:verify", "/models/a", None),
        ("/models/{model}/versions/{version}", "/models/a:b/versions/7", (("model", "a:b"), ("version", "7"))),
        ("/files/{path=**}", "/files/a/b.c", (("path", "a/b.c"),)),
        ("/files/{path=**}", "/files/a:x/b", (("path", "a:x/b"),)),
        ("/files/{path=**}", "/files/a/b:x", None),
        ("/files/{file.path=*}", "/files/a", (("file.path", "a"),)),
        ("/a.b", "/axb", None),
    ],
)
def test_a_path_gives_the_variables_of_its_template(template: str, path: str, found: Variables | None) -> None:
    assert PathTemplate(template).match(path) == found


@given(first=segments, second=segments.filter(lambda text: ":" not in text))
def test_what_stands_for_variables_comes_out_as_it_is(first: str, second: str) -> None:
    template = PathTemplate("/a/{one}/b/{two.three}")

    assert template.match(f"/a/{first}/b/{second}") == (("one", first), ("two.three", second))


def test_envoy_s_pattern_and_the_lane_s_match_the_same_paths(tmp_path: Path) -> None:
    """The route that leads to the lane and the template that takes its variables: neither without the other."""
    templates = [rule.template for method in read_contracts(GatewaySettings(data_dir=tmp_path)).methods for rule in method.http_rules]
    paths = [re.sub(r"\{[^}]*\}", text, template) for template in templates for text in ("a", "a:b", "7", "a%3Ab")]

    assert len(templates) > 20
    for template in templates:
        pattern, lane = re.compile(pattern_of(template)), PathTemplate(template)
        assert pattern.groups == 0
        assert [bool(pattern.fullmatch(path)) for path in paths] == [lane.match(path) is not None for path in paths]


def test_of_two_templates_that_match_the_one_that_is_written_out_comes_first() -> None:
    templates = ["/files/{path=**}", "/files/{name}", "/files/{name}/parts/{part}", "/files/{name}/parts/all", "/files/all"]

    ranked = sorted(templates, key=lambda template: PathTemplate(template).rank)

    assert [
        next(template for template in ranked if PathTemplate(template).match(path) is not None)
        for path in ("/files/all", "/files/x", "/files/x/parts/all", "/files/x/parts/1", "/files/x/y")
    ] == ["/files/all", "/files/{name}", "/files/{name}/parts/all", "/files/{name}/parts/{part}", "/files/{path=**}"]


def test_every_raw_path_of_the_contracts_leads_to_its_own_template(tmp_path: Path) -> None:
    rules = [rule for method in read_contracts(GatewaySettings(data_dir=tmp_path)).methods for rule in method.http_rules if rule.is_raw]
    ranked = sorted(rules, key=lambda rule: PathTemplate(rule.template).rank)

    for rule in rules:
        path = re.sub(r"\{[^}]*\}", "x-1", rule.template)
        assert next(other for other in ranked if other.verb == rule.verb and PathTemplate(other.template).match(path) is not None) == rule


def test_all_paths_of_a_method_are_found() -> None:
    rule = http_pb2.HttpRule(get="/a", additional_bindings=[http_pb2.HttpRule(put="/b", body="body"), http_pb2.HttpRule()])
    rule.additional_bindings.add().custom.CopyFrom(http_pb2.CustomHttpPattern(kind="report", path="/c"))

    assert list(http_rules(rule)) == [("GET", "/a", ""), ("PUT", "/b", "body"), ("REPORT", "/c", "")]
