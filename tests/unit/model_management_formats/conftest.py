from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest


@dataclass(frozen=True)
class Data:
    """Rows to train on: numbers, the same with names, and a table of numbers and texts; and what to learn from them."""

    matrix: np.ndarray
    frame: pd.DataFrame
    mixed: pd.DataFrame
    two: np.ndarray
    three: np.ndarray
    words: np.ndarray
    number: np.ndarray


@pytest.fixture(scope="session")
def data() -> Data:
    random = np.random.default_rng(7)
    matrix = random.normal(size=(300, 4))
    frame = pd.DataFrame(matrix, columns=["a", "b", "c", "d"])
    mixed = frame.assign(c=random.integers(0, 9, 300), d=random.choice(["x", "y", "z"], 300))
    two = (matrix[:, 0] + matrix[:, 1] > 0).astype(int)
    three = np.digitize(matrix[:, 0], [-0.5, 0.5])
    return Data(matrix, frame, mixed, two, three, np.array(["low", "mid", "high"])[three], matrix[:, 0] * 100 + matrix[:, 1])
