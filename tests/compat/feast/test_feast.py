"""Training sets beside those of Feast itself (its own venv), where Feast is right: without write times, and without ties."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from servers.features.offline.retrieval import retrieval
from servers.features.offline.specification import Feature, FeatureView, Spine, TrainingSet, ViewKey
from servers.processing.engines.local import LocalEngine
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.binding import bind
from servers.processing.plan_messages import plan_from_proto
from servers.runtime.duckdb_session import DuckdbLimits

ORACLE = Path(__file__).parent / "oracle" / "historical.py"
VENV = Path(os.environ.get("FEAST_VENV") or Path(__file__).parents[3] / ".venv-feast")
PYTHON = VENV / "bin" / "python"
START = datetime(2026, 1, 1, tzinfo=UTC)
TIME = pa.timestamp("us", "UTC")


def view(name: str, key: str, *features: str, hours: float | None = None) -> FeatureView:
    age = None if hours is None else timedelta(hours=hours)
    return FeatureView(name, name, (ViewKey(key, key),), "moment", tuple(map(Feature, features)), max_age=age)


VIEWS = (
    view("spending", "customer", "amount", "words"),
    view("visits", "customer", "count", hours=48),
    view("stock", "shop", "items", hours=8),
)
TRAINING_SET = TrainingSet(Spine("spine", "event_timestamp", ("customer", "shop", "event_timestamp", "label")), VIEWS)


def tables() -> dict[str, pa.Table]:
    chance = random.Random(5)

    def moments(count: int) -> pa.Array:
        return pa.array([START + timedelta(minutes=each) for each in chance.choices(range(0, 14_400, 30), k=count)], TIME)

    def history(key: str, rows: int) -> dict[str, pa.Array]:
        # Each moment of a key once: of two rows Feast takes any.
        pairs = chance.sample([(each, minute) for each in range(20) for minute in range(0, 14_400, 30)], rows)
        return {
            key: pa.array([pair[0] for pair in pairs]),
            "moment": pa.array([START + timedelta(minutes=pair[1]) for pair in pairs], TIME),
        }

    def holes(values: list[Any]) -> list[Any]:
        return [None if chance.random() < 0.1 else value for value in values]

    spine = {"customer": pa.array(chance.choices(range(22), k=500)), "shop": pa.array(chance.choices(range(22), k=500))}
    spine |= {"event_timestamp": moments(500), "label": pa.array(range(500))}
    spending = history("customer", 800)
    spending |= {
        "amount": pa.array(holes([chance.gauss(50, 9) for _ in range(800)])),
        "words": pa.array(holes(chance.choices("abcé", k=800))),
    }
    visits = history("customer", 400) | {"count": pa.array(chance.choices(range(9), k=400))}
    stock = history("shop", 900) | {"items": pa.array(holes([chance.random() for _ in range(900)]))}
    made = {"spine": spine, "spending": spending, "visits": visits, "stock": stock}
    return {name: pa.table(columns) for name, columns in made.items()}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[pa.Table, pa.Table]:
    assert PYTHON.exists(), "Feast has a venv of its own: run this by `make test-compat`"
    folder, inputs = tmp_path_factory.mktemp("feast"), tables()
    for name, table in inputs.items():
        pq.write_table(table, folder / f"{name}.parquet")
    described = [
        {
            "name": each.name,
            "key": each.keys[0].view,
            "event_time": each.event_time,
            "features": [feature.column for feature in each.features],
            "max_age_s": None if each.max_age is None else each.max_age.total_seconds(),
        }
        for each in VIEWS
    ]
    (folder / "views.json").write_text(json.dumps(described))
    subprocess.run([PYTHON, "-P", ORACLE, folder], check=True, cwd=folder, timeout=300, capture_output=True)
    made = retrieval(TRAINING_SET)
    plan = bind(plan_from_proto(made.plan), {name: table.schema for name, table in inputs.items()})
    with LocalEngine(DuckdbLimits()).run(plan, inputs, Cancellation()) as outputs:
        return outputs[made.output].read_all(), pq.read_table(folder / "answer.parquet")


def test_rows_are_those_of_feast(answers: tuple[pa.Table, pa.Table]) -> None:
    ours, theirs = answers

    assert rows_of(ours) == rows_of(theirs.select(ours.column_names))


def test_the_cases_have_values_and_nulls_of_every_view(answers: tuple[pa.Table, pa.Table]) -> None:
    ours, _ = answers

    assert ours.num_rows == 500
    assert all(50 < ours[name].null_count < 450 for name in ("count", "items"))
    assert 0 < ours["amount"].null_count < 250


def rows_of(table: pa.Table) -> Counter[tuple[Any, ...]]:
    """Rows in no order. Feast's are from pandas, where a missing number is NaN and a whole number a float."""
    return Counter(tuple(plain(value) for value in row.values()) for row in table.to_pylist())


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    return None if isinstance(value, float) and math.isnan(value) else float(value) if isinstance(value, int) else value
