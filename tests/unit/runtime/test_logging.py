from __future__ import annotations

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.runtime.logging import JsonFormatter, redacted

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"token {JWT} refused", "token [hidden] refused"),
        ("key mlm_abc123_Zx9SecretSecret used", "key mlm_abc123_[hidden] used"),
        ("Authorization: Bearer abcdefgh12345678", "Authorization: [hidden] [hidden]"),
        ("password=hunter2 next", "password=[hidden] next"),
        ('{"password": "hunter2", "user": "ada"}', '{"password": "[hidden]", "user": "ada"}'),
        ("new_password='hunter2'", "new_password='[hidden]'"),
        ("client_secret=abc&grant_type=x", "client_secret=[hidden]&grant_type=x"),
        ("postgresql://mesh:hunter2@db/mesh", "postgresql://mesh:[hidden]@db/mesh"),
        ("nothing to hide", "nothing to hide"),
        ("unix:/run/users.sock", "unix:/run/users.sock"),
    ],
)
def test_secrets_are_hidden_and_the_rest_stays(text: str, shown: str) -> None:
    assert redacted(text) == shown


alphabet = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=12, max_size=40)


@given(alphabet, st.sampled_from(["Bearer {}", "mlm_k1_{}", "password={}", '"secret": "{}"', "redis://u:{}@host/0", "api_key: {}"]))
def test_no_secret_in_a_known_place_is_shown(secret: str, place: str) -> None:
    assert secret not in redacted(f"before {place.format(secret)} after")


def formatted(**fields: object) -> dict[str, object]:
    record = logging.LogRecord("servers.zoo", logging.WARNING, "zoo.py", 1, "the %s ate %s", ("lion", "password=meat"), None)
    for name, value in fields.items():
        setattr(record, name, value)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    parsed: dict[str, object] = json.loads(line)
    return parsed


def test_a_line_is_one_json_object() -> None:
    line = formatted(facts={"duration_ms": 1.5, "note": "Bearer abcdefgh12345678"})

    assert (line["level"], line["logger"], line["message"]) == ("WARNING", "servers.zoo", "the lion ate password=[hidden]")
    assert line["duration_ms"] == 1.5
    assert line["note"] == "Bearer [hidden]"
    assert str(line["time"]).endswith("+00:00")


def test_an_exception_is_logged_without_its_secrets() -> None:
    try:
        raise ValueError("postgresql://mesh:hunter2@db is down")
    except ValueError:
        line = formatted(exc_info=sys.exc_info())

    assert "ValueError" in str(line["exception"])
    assert "hunter2" not in str(line["exception"])
