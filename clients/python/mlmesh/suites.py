"""Suites of expectations, as Great Expectations 1.x writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Struct

from mlmesh.errors import InvalidArgument
from mlmesh.json_values import NotJson, fill_struct


def suite_message(suite: Mapping[str, Any] | Path | str) -> Struct:
    """Returns a suite as it travels.

    Args:
        suite: `{"name": "...", "expectations": [{"type": "...", "kwargs": {}}]}`, or the path of a JSON file with it.

    Raises:
        mlmesh.errors.InvalidArgument: It cannot be read, or has what JSON does not.
    """
    message = Struct()
    try:
        fill_struct(message, suite if isinstance(suite, Mapping) else _read(Path(suite)))
    except NotJson as error:
        where = f"the suite, {error.path}" if error.path else "the suite"
        raise InvalidArgument(f"{where}: {error.problem}", reason="VALUE_NOT_JSON") from None
    return message


def _read(path: Path) -> Mapping[str, Any]:
    try:
        suite = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"the suite {path} cannot be read: {error}", reason="SUITE_UNREADABLE") from None
    if not isinstance(suite, dict):
        raise InvalidArgument(f"the suite {path} is no JSON object", reason="SUITE_UNREADABLE")
    return suite
