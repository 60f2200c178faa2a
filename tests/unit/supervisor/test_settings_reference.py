from __future__ import annotations

from servers.settings_reference import all_settings


def test_every_setting_says_what_it_does() -> None:
    silent = [setting.variable for setting in all_settings() if not setting.description]
    assert silent == []


def test_every_component_and_the_supervisor_have_their_settings() -> None:
    assert {setting.scope for setting in all_settings()} >= {
        "supervisor",
        "every server",
        "users",
        "registry",
        "ingestion",
        "processing",
        "features",
        "serving",
        "system",
        "gateway",
    }


def test_no_setting_is_listed_twice() -> None:
    variables = [setting.variable for setting in all_settings()]
    assert len(variables) == len(set(variables))


def test_a_default_that_is_made_is_shown_as_what_is_made() -> None:
    shown = {setting.variable: setting.default for setting in all_settings()}
    assert not [variable for variable, default in shown.items() if "Pydantic" in default]
    assert int(shown["MLMESH_GATEWAY_ENVOY_WORKERS"]) >= 1
