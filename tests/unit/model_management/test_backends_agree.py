"""One sequence of calls, two backends: JSON and SQL answer alike, also with their refusals."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aip_filter import QueryError
from model_management import FileEntry, Lineage, ModelVersion, Page, RegisteredModel, Stage, VersionReference
from model_management.errors import RegistryError
from model_management.metadata.json_file import JsonFileStore
from model_management.metadata.operations import LocalBackend
from model_management.metadata.sql import SqlStore
from model_management.model import ModelChanges, NewModel, NewVersion, VersionChanges, VersionError
from model_management.query import ListQuery
from sql_engine import connect

PROJECTS = st.sampled_from(["default", "default", "default", "other"])
MODELS = st.sampled_from(["a", "b"])
NUMBERS = st.sampled_from([1, 2, 2, 3, 3, 4])
TAGS = st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["x", "y"]), max_size=2)
DIGESTS = [f"sha256:{digit * 64}" for digit in "01"]
FILES = st.sampled_from([(), (FileEntry("f", DIGESTS[0], 3),), (FileEntry("f", DIGESTS[1], 4), FileEntry("g", DIGESTS[0], 3))])
PARENTS = st.lists(st.builds(VersionReference, MODELS, NUMBERS), max_size=1).map(tuple)
REQUESTS = st.sampled_from([None, None, "r1", "r2"])
FILTERS = st.sampled_from(
    ["", 'tags.k = "x"', "NOT tags.k = x", "version > 1", "state = READY", "stage = none", "metrics.m > 1", "nmae = 1"]
)
ORDERS = st.sampled_from(["", "version", "create_time desc", "model desc, version"])
START = datetime(2026, 1, 1, tzinfo=UTC)


class BackendsAgree(RuleBasedStateMachine):
    """Calls both backends with the same arguments and compares everything but etags, which are random."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = START
        root = Path(self.folder.name)
        # A log this small is compacted again and again.
        self.json = LocalBackend(JsonFileStore(root / "json", compact_from_bytes=2_000), clock=lambda: self.now)
        self.sql = LocalBackend(SqlStore(connect(f"sqlite:///{root}/registry.db")), clock=lambda: self.now)

    def teardown(self) -> None:
        self.json.close()
        self.sql.close()
        self.folder.cleanup()

    def both(self, method: str, *arguments: Any, **options: Any) -> None:
        self.now += timedelta(seconds=1)
        assert outcome(self.json, method, *arguments, **options) == outcome(self.sql, method, *arguments, **options)

    @initialize()
    def one_version_of_each_kind(self):
        # Otherwise most sequences spend themselves on creating what they could break.
        for number, files in enumerate(((FileEntry("f", DIGESTS[0], 3),), (), ()), start=1):
            self.both("create_version", "default", "a", NewVersion(files=files), create_model=True)
            if number == 3:
                self.both("fail_version", "default", "a", number, VersionError("R", "m"))

    @rule(project=PROJECTS, name=MODELS, tags=TAGS, request_id=REQUESTS)
    def create_model(self, project, name, tags, request_id):
        self.both("create_model", project, name, NewModel("", "d", tags), request_id=request_id)

    @rule(project=PROJECTS, name=MODELS, tags=TAGS)
    def update_model(self, project, name, tags):
        self.both("update_model", project, name, ModelChanges(description="changed", tags=tags))

    @rule(project=PROJECTS, name=MODELS, verb=st.sampled_from(["delete_model", "restore_model"]))
    def delete_or_restore_model(self, project, name, verb):
        self.both(verb, project, name)

    @rule(
        project=PROJECTS,
        name=MODELS,
        files=FILES,
        tags=TAGS,
        parents=PARENTS,
        request_id=REQUESTS,
        create=st.sampled_from([True, True, False]),
    )
    def create_version(self, project, name, files, tags, parents, request_id, create):
        new = NewVersion("d", tags, "folder", files, metrics={"m": len(tags)}, parameters=tags, lineage=Lineage(parents=parents))
        self.both("create_version", project, name, new, create_model=create, request_id=request_id)

    @rule(project=PROJECTS, name=MODELS, number=NUMBERS, tags=TAGS)
    def update_version(self, project, name, number, tags):
        self.both("update_version", project, name, number, VersionChanges(tags=tags, metrics={"m": 2.0}))

    @rule(project=PROJECTS, name=MODELS, number=NUMBERS, verb=st.sampled_from(["delete_version", "restore_version", "finalize_version"]))
    def move_version(self, project, name, number, verb):
        self.both(verb, project, name, number)

    @rule(project=PROJECTS, name=MODELS, number=NUMBERS)
    def attach_file(self, project, name, number):
        self.both("attach_file", project, name, number, FileEntry("late", DIGESTS[1], 4))

    @rule(project=PROJECTS, name=MODELS, number=NUMBERS)
    def fail_version(self, project, name, number):
        self.both("fail_version", project, name, number, VersionError("R", "m"))

    @rule(project=PROJECTS, name=MODELS, number=NUMBERS, alias=st.sampled_from(["default", "best"]))
    def set_alias(self, project, name, number, alias):
        self.both("set_alias", project, name, alias, number)

    @rule(project=PROJECTS, name=MODELS, alias=st.sampled_from(["default", "best"]))
    def delete_alias(self, project, name, alias):
        self.both("delete_alias", project, name, alias)

    @rule(project=PROJECTS, name=MODELS, number=NUMBERS, stage=st.sampled_from([Stage.PRODUCTION, Stage.STAGING]), archive=st.booleans())
    def set_stage(self, project, name, number, stage, archive):
        self.both("set_stage", project, name, number, stage, archive_others=archive)

    @rule(age_s=st.integers(0, 10), dry_run=st.booleans())
    def purge(self, age_s, dry_run):
        before = self.now - timedelta(seconds=age_s)
        self.both("purge", before=before, pending_before=before, dry_run=dry_run)

    @rule(
        project=PROJECTS,
        name=MODELS,
        number=NUMBERS,
        alias=st.sampled_from([None, "best", "latest"]),
        stage=st.sampled_from([None, Stage.STAGING]),
    )
    def ask_for_one(self, project, name, number, alias, stage):
        self.both("resolve_version", project, name, alias=alias, stage=stage)
        self.both("get_version", project, name, number, include_deleted=True)
        self.both("lineage", project, name, number)

    @rule(
        projects=st.sampled_from([None, frozenset({"default"}), frozenset()]),
        text=FILTERS,
        order_by=ORDERS,
        deleted=st.booleans(),
        size=st.integers(1, 3),
    )
    def ask_for_versions(self, projects, text, order_by, deleted, size):
        self.both("list_versions", ListQuery(projects, "", text, order_by, size, include_deleted=deleted))
        self.both("list_models", ListQuery(projects, "", "" if "m" in text else text, "", size, include_deleted=deleted))

    @invariant()
    def everything_is_the_same(self):
        whole = ListQuery(None, page_size=1000, include_deleted=True)
        for method, arguments in (
            ("list_models", (whole,)),
            ("list_versions", (whole,)),
            ("get_statistics", ()),
            ("get_statistics", ("default",)),
            ("find_models_by_tag", ("k", "x")),
            ("referenced", (DIGESTS,)),
        ):
            assert outcome(self.json, method, *arguments) == outcome(self.sql, method, *arguments)


def outcome(backend: LocalBackend, method: str, *arguments: Any, **options: Any) -> Any:
    """Return what a call gave, without etags; or how it was refused."""
    try:
        return without_etags(getattr(backend, method)(*arguments, **options))
    except (RegistryError, QueryError) as error:
        return type(error), str(error)


def without_etags(value: Any) -> Any:
    if isinstance(value, (RegisteredModel, ModelVersion)):
        return replace(value, etag="")
    if isinstance(value, Page):
        return tuple(map(without_etags, value.items)), value.next_page_token
    if isinstance(value, list):
        return [without_etags(item) for item in value]
    return value


TestBackendsAgree = BackendsAgree.TestCase
TestBackendsAgree.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
