"""docs/errors.md is complete: scripts of other people act on reasons."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = ("servers", "gateway", "model_management")
REASON = re.compile(r"[A-Z][A-Z0-9_]{2,62}")
# Functions that take a reason as an argument by position.
POSITIONAL = {"_refused", "_bad_field", "_missing_reason", "_status", "Reply"}


def reasons_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
                if any(isinstance(target, ast.Name) and target.id == "reason" for target in targets):
                    yield from texts(getattr(statement, "value", None))
        elif isinstance(node, ast.Call):
            yield from (text for keyword in node.keywords if keyword.arg == "reason" for text in texts(keyword.value))
            if isinstance(node.func, ast.Name) and node.func.id in POSITIONAL:
                yield from (text for argument in node.args for text in texts(argument))


def texts(node: ast.AST | None) -> Iterator[str]:
    if node is not None:
        yield from (inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant) and isinstance(inner.value, str))


def reasons_in_the_code() -> set[str]:
    files = (file for source in SOURCES for file in (ROOT / source).rglob("*.py"))
    return {text for file in files for text in reasons_in(ast.parse(file.read_text())) if REASON.fullmatch(text)}


def reasons_in_the_documentation() -> set[str]:
    return set(re.findall(r"`([A-Z][A-Z0-9_]{2,62})`", (ROOT / "docs/errors.md").read_text()))


def test_every_reason_that_the_code_sends_is_documented() -> None:
    assert reasons_in_the_code() - reasons_in_the_documentation() == set()


def test_every_documented_reason_is_sent_by_something() -> None:
    source = "\n".join(file.read_text() for folder in SOURCES for file in (ROOT / folder).rglob("*.py"))

    assert {reason for reason in reasons_in_the_documentation() if f'"{reason}"' not in source} == set()
