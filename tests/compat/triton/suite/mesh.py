"""Where the mesh is, and what ONNX Runtime said; both come from the test that started it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

_GIVEN = json.loads(os.environ["SUITE"])
GRPC: str = _GIVEN["grpc"]
HTTP: str = _GIVEN["http"]
_EXPECTED = Path(_GIVEN["expected"])


def bearer() -> dict[str, str]:
    """Headers of a caller who may do everything. New ones each time: the HTTP client writes its own into what it is given."""
    return {"authorization": f"Bearer {_GIVEN['token']}"}


def expected(model: str, version: int, case: str, *strings: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs of a case by name; `strings` are the names of those that are strings, in one column."""
    with np.load(_EXPECTED / f"{model}-{version}-{case}.npz", allow_pickle=False) as saved:
        arrays = {name: _strings(saved[name]) if name.partition(".")[2] in strings else saved[name] for name in saved.files}
    return tuple(
        {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)} for prefix in ("in.", "out.")
    )  # type: ignore[return-value]


def _strings(packed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    data, texts = packed.tobytes(), []
    while data:
        end = 4 + int.from_bytes(data[:4], "little")
        texts.append(data[4:end])
        data = data[end:]
    return np.array(texts, dtype=object).reshape(-1, 1)
