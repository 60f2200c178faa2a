from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from mlops.common.v1 import component_service_pb2

from servers.system.converters import component_report, component_status
from servers.system.reports import ComponentReport, DependencyReport, Health

times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda naive: naive.replace(tzinfo=UTC))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":/."), max_size=20)  # no addresses, which do not survive
dependencies = st.builds(DependencyReport, texts, st.sampled_from(Health), texts, times, st.floats(0, 1e6))
reports = st.builds(
    ComponentReport, texts, texts, st.sampled_from(Health), texts, st.none() | times, times, st.lists(dependencies, max_size=3).map(tuple)
)


@given(reports)
def test_a_report_survives_the_way_through_the_contract(report):
    assert component_report(component_status(report)) == report


def test_a_state_of_a_newer_contract_counts_as_degraded():
    status = component_service_pb2.ComponentStatus(component="new")
    status.since_time.FromDatetime(datetime(2026, 1, 1))

    assert component_report(status).state is Health.DEGRADED
