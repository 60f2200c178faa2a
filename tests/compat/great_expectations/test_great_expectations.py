"""Our reports beside those of Great Expectations itself (its own venv), on the same table and suite."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from servers.ingestion.expectations import Suite, report_to_json, suite_to_json, validate
from tests.compat.great_expectations import cases

ORACLE = Path(__file__).parent / "oracle" / "validate.py"
VENV = Path(os.environ.get("GREAT_EXPECTATIONS_VENV") or Path(__file__).parents[3] / ".venv-great-expectations")
PYTHON = VENV / "bin" / "python"
COUNTS = ("element_count", "unexpected_count", "missing_count", "unexpected_percent", "unexpected_percent_total")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    assert PYTHON.exists(), "Great Expectations has a venv of its own: run this by `make test-compat`"
    folder = tmp_path_factory.mktemp("great-expectations")
    table, suite = cases.table(), Suite("compat", tuple(cases.expectations()))
    (folder / "table.json").write_text(json.dumps(table))
    (folder / "suite.json").write_text(json.dumps(suite_to_json(suite)))
    files = [str(folder / name) for name in ("table.json", "suite.json", "result.json")]
    subprocess.run([PYTHON, "-P", ORACLE, *files], check=True, cwd=folder, timeout=500)
    theirs = json.loads((folder / "result.json").read_text())["results"]
    ours = report_to_json(validate(suite, cases.frame(table), unexpected_rows=cases.ROWS))["results"]
    return list(zip(ours, theirs, strict=True))


def test_there_are_enough_cases(answers):
    answered = [ours["expectation_config"]["type"] for ours, theirs in answers if not has_raised(theirs)]

    assert len(answered) >= 350
    assert len(set(answered)) >= 45


def test_what_great_expectations_says_is_what_we_say(answers):
    differences = [difference for ours, theirs in answers if (difference := difference_of(ours, theirs))]

    assert not differences, "\n".join(differences)


def difference_of(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Says where two results differ; empty where they agree."""
    config = ours["expectation_config"]
    name = f"{config['type']} {config['kwargs']}"
    raised = has_raised(theirs)
    if ours["success"] != theirs["success"]:
        return f"{name}: {ours} but GX {theirs['success']} {theirs['result']} {theirs['exception_info'] if raised else ''}"
    if raised or ours["exception_info"]["raised_exception"]:
        return "" if raised and not ours["success"] else f"{name}: {ours['exception_info']} but GX {theirs}"
    left, right = ours["result"], theirs["result"]
    for key in COUNTS:
        if key in right and key in left and not alike(left[key], right[key]):
            return f"{name}: {key} {left[key]} but GX {right[key]}"
    if "unexpected_index_list" in right and left["partial_unexpected_index_list"] != right["unexpected_index_list"]:
        return f"{name}: rows {left['partial_unexpected_index_list']} but GX {right['unexpected_index_list']}"
    if not alike(left.get("observed_value"), right.get("observed_value")):
        return f"{name}: observed {left.get('observed_value')} but GX {right.get('observed_value')}"
    return ""


def has_raised(result: dict[str, Any]) -> bool:
    """GX tells of one exception, or of several by metric."""
    information = result.get("exception_info") or {}
    entries = [information] if "raised_exception" in information else information.values()
    return any(entry.get("raised_exception") for entry in entries)


def alike(left: Any, right: Any) -> bool:
    """Compares what JSON can have, floats to twelve digits."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(alike(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, int | float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=1e-12, abs_tol=1e-12)
    return left == right
