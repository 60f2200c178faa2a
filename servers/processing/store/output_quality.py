"""Statistics of outputs, and the alerts that rules about them raise."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, and_, insert, select, update

from servers.processing.pipelines.records import AlertState, OutputQuality, QualityAlert
from servers.processing.store.pipeline_rows import ALERT_LIST, QUALITY_LIST, quality_of
from servers.processing.store.pipeline_tables import output_quality, quality_alerts
from servers.processing.store.pipelines import id_of
from servers.runtime.pages import read_page
from servers.runtime.paging import Listing


class QualityStore:
    """What is known of outputs. Where a method takes a `connection`, it is part of that transaction.

    Args:
        engine: The component's database, from `open_store`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, connection: Connection, pipeline_id: str, quality: OutputQuality) -> None:
        """Keeps the statistics of an output after a run."""
        row = {
            "id": str(uuid.uuid4()),
            "pipeline_id": pipeline_id,
            "job_id": quality.job_id,
            "dataset": quality.dataset,
            "version": quality.version,
            "row_count": quality.row_count,
            "columns": [asdict(each) for each in quality.columns],
            "create_time": quality.create_time,
        }
        connection.execute(insert(output_quality).values(row))

    def last(self, connection: Connection, pipeline_id: str, dataset: str, most: int) -> list[OutputQuality]:
        """Returns the newest statistics of an output, the newest first."""
        of_output = and_(output_quality.c.pipeline_id == pipeline_id, output_quality.c.dataset == dataset)
        found = select(output_quality).where(of_output).order_by(output_quality.c.create_time.desc(), output_quality.c.id).limit(most)
        return [quality_of(row) for row in connection.execute(found).mappings()]

    def page(self, project: str, name: str, listing: Listing) -> tuple[list[OutputQuality], str]:
        """Returns a page of the statistics of a pipeline's outputs, and the token of the next one.

        Raises:
            PipelineNotFound: The project has none of this name.
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            pipeline_id = id_of(connection, project, name)
            return read_page(connection, QUALITY_LIST, listing, output_quality.c.pipeline_id == pipeline_id, scope=pipeline_id)

    def open_rules(self, connection: Connection, pipeline_id: str) -> set[str]:
        """Returns the names of the rules of a pipeline that have an open alert."""
        return set(connection.execute(select(quality_alerts.c.rule).where(_is_open(pipeline_id))).scalars())

    def raise_alert(self, connection: Connection, project: str, pipeline_id: str, alert: QualityAlert) -> None:
        """Adds an alert."""
        row = {**asdict(alert), "state": alert.state.value, "project": project, "pipeline_id": pipeline_id}
        connection.execute(insert(quality_alerts).values(row))

    def resolve(self, connection: Connection, pipeline_id: str, rules: Collection[str], now: datetime) -> None:
        """Ends the open alerts of some rules."""
        ended = {"state": AlertState.RESOLVED.value, "resolve_time": now}
        if rules:
            connection.execute(update(quality_alerts).where(_is_open(pipeline_id), quality_alerts.c.rule.in_(rules)).values(ended))

    def resolve_all_but(self, connection: Connection, pipeline_id: str, rules: Sequence[str], now: datetime) -> None:
        """Ends the open alerts of rules that are no more."""
        self.resolve(connection, pipeline_id, self.open_rules(connection, pipeline_id) - set(rules), now)

    def alerts(self, project: str, listing: Listing) -> tuple[list[QualityAlert], str]:
        """Returns a page of a project's alerts, and the token of the next one.

        Raises:
            aip_filter.QueryError: Filter, order or page token is wrong.
        """
        with self._engine.connect() as connection:
            return read_page(connection, ALERT_LIST, listing, quality_alerts.c.project == project, scope=project)


def _is_open(pipeline_id: str) -> ColumnElement[bool]:
    return and_(quality_alerts.c.pipeline_id == pipeline_id, quality_alerts.c.state == AlertState.OPEN.value)
