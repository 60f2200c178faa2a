"""What is said to have changed is the difference of both versions as multisets of rows."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from servers.processing.incremental.changed_rows import ComparedInput, came, touched_rows
from servers.processing.incremental.keys import KnownKeys
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.binding import bind
from servers.processing.plan.plan import Plan
from servers.runtime.tables.changes import changes
from tests.integration.processing.incremental.histories import ENGINE, STORAGE
from tests.integration.processing.incremental.test_incremental_is_full import STORED, Histories


def exact_rows(rows: pa.Table) -> Counter[str]:
    # -0.0 is another text than 0.0, and NaN is one.
    return Counter(str(list(row.values())) for row in rows.to_pylist())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_changes_are_the_difference(data: DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        histories = Histories(Path(folder), data, kinds=("append", "upsert", "overwrite", "delete", "compact", "rollback"))
        versions = {name: data.draw(st.integers(0, history.version)) for name, history in histories.all.items()}
        histories.happen()
        found = {name: changes(each.uri, versions[name], each.version, STORAGE) for name, each in histories.all.items()}
        old = {name: exact_rows(each.old.reader().read_all()) for name, each in found.items()}
        new = {name: exact_rows(each.new.reader().read_all()) for name, each in found.items()}
        inputs = {name: ComparedInput(each, STORED[name]) for name, each in found.items() if not each.is_nothing}
        keys = KnownKeys(("key", "word"), ("BIGINT", "VARCHAR"), dict.fromkeys(STORED, ("key", "word")))

        touched = touched_rows(inputs, keys, ENGINE, Cancellation(), 1000)

        assert {name: (old[name], new[name]) for name in found if name not in inputs and old[name] != new[name]} == {}
        assert dict(touched.added) == {name: (new[name] - old[name]).total() for name in inputs}
        assert dict(touched.removed) == {name: (old[name] - new[name]).total() for name in inputs}
        wanted = {tuple(row.split(", ")[:2]) for name in inputs for row in (old[name] - new[name]) + (new[name] - old[name])}
        assert {tuple(str(list(row.values())).strip("]").split(", ")) for row in touched.keys.to_pylist()} == wanted
        for name, given_input in inputs.items():
            if given_input.changes.removed and not touched.removed[name]:
                assert exact_rows(_came(given_input)) == new[name] - old[name]


def _came(given_input: ComparedInput) -> pa.Table:
    steps, relations = came("came", given_input)
    bound = bind(Plan(tuple(steps), ("came",)), {name: each.schema for name, each in relations.items()})
    with ENGINE.run(bound, relations, Cancellation()) as outputs:
        return outputs["came"].read_all()
