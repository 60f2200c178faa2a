"""Datasets as their newest versions have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, delete, select, update

from aip_filter import Field, Schema
from servers.ingestion.records import Dataset
from servers.ingestion.store.errors import DatasetNotFound
from servers.ingestion.store.tables import datasets
from servers.runtime.pages import Collection, read_page
from servers.runtime.paging import Listing
from sql_engine import Insertion


class Datasets:
    """The datasets of all projects. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database, from `open_store`.
        on_new_version: Called with a dataset that is new or has a new version, in the transaction in which that becomes known.
    """

    def __init__(self, engine: Engine, on_new_version: Callable[[Connection, Dataset], None] = lambda _connection, _dataset: None) -> None:
        self._engine = engine
        self._on_new_version = on_new_version
        self._insertion = Insertion(datasets, engine.dialect, if_absent=True)

    def put(self, connection: Connection, dataset: Dataset) -> None:
        """Adds a dataset, or brings it to a newer version. Changes nothing where that version or a newer one is known.

        Args:
            connection: Within the transaction. `sql_engine.write` began it: on MariaDB two that add the same dataset may have to.
            dataset: The dataset. Its `create_time` counts only where the dataset is added.
        """
        # The usual case first. It locks the row for writing at once; after an INSERT that finds it, MariaDB's writers would collide.
        # Where the INSERT finds it, somebody else may have added it meanwhile, in an older version.
        if _renew(connection, dataset) or self._insertion.run(connection, [_row(dataset)]) or _renew(connection, dataset):
            self._on_new_version(connection, dataset)

    def get(self, project: str, name: str) -> Dataset:
        """Returns a dataset.

        Raises:
            DatasetNotFound: The project has none of this name.
        """
        with self._engine.connect() as connection:
            row = connection.execute(select(datasets).where(_is(project, name))).mappings().one_or_none()
        if row is None:
            raise DatasetNotFound(project, name)
        return _dataset(row)

    def newest_version(self, project: str, name: str) -> int | None:
        """Returns the newest version of a dataset that is known; None where the project has none of this name."""
        with self._engine.connect() as connection:
            return connection.execute(select(datasets.c.version).where(_is(project, name))).scalar_one_or_none()

    def page(self, project: str, listing: Listing) -> tuple[list[Dataset], str]:
        """Returns a page of a project's datasets, by name unless ordered otherwise, and the token of the next page.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            return read_page(connection, _LIST, listing, datasets.c.project == project, scope=project)

    def remove(self, connection: Connection, project: str, name: str) -> None:
        """Removes a dataset. One that is not there stays so.

        Args:
            connection: Within the transaction.
            project: Its project.
            name: Its name.
        """
        connection.execute(delete(datasets).where(_is(project, name)))


def _is(project: str, name: str) -> Any:
    return (datasets.c.project == project) & (datasets.c.name == name)


def _renew(connection: Connection, dataset: Dataset) -> bool:
    values = _row(dataset)
    for kept in ("project", "name", "create_time"):
        del values[kept]
    older = _is(dataset.project, dataset.name) & (datasets.c.version < dataset.version)
    return connection.execute(update(datasets).where(older).values(values)).rowcount == 1


def _row(dataset: Dataset) -> dict[str, Any]:
    return {
        "project": dataset.project,
        "name": dataset.name,
        "version": dataset.version,
        "columns": [list(column) for column in dataset.columns],
        "row_count": dataset.row_count,
        "size_bytes": dataset.size_bytes,
        "create_time": dataset.create_time,
        "update_time": dataset.update_time,
    }


def _dataset(row: RowMapping) -> Dataset:
    # By name: the rows of a list also have the values of its order.
    values: dict[str, Any] = {column.name: row[column.name] for column in datasets.c}
    return Dataset(**values | {"columns": tuple((name, arrow_type) for name, arrow_type in values["columns"])})


_LIST = Collection(
    name="datasets",
    source=datasets,
    columns=tuple(datasets.c),
    schema=Schema(
        {
            "name": Field("string", datasets.c.name),
            "create_time": Field("timestamp", datasets.c.create_time),
            "update_time": Field("timestamp", datasets.c.update_time),
        }
    ),
    order_fields={name: datasets.c[name] for name in ("name", "create_time", "update_time")},
    default_order="name",
    tie_breaker=datasets.c.name,
    read=_dataset,
)
