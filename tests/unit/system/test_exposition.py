from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from servers.system.exposition import Joined, Source
from servers.system.exposition import join as join_sources


def samples_of(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def join(texts: Mapping[str, str]) -> Joined:
    return join_sources({Source(name): text for name, text in texts.items()})


def test_each_family_has_one_header_and_its_samples_together():
    text = "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total 1\n# HELP other Other.\n# TYPE other gauge\nother 2\n"

    joined = join({"a": text, "b": text}).text

    assert joined == (
        "# HELP calls_total Calls.\n# TYPE calls_total counter\n"
        'calls_total{component="a"} 1\ncalls_total{component="b"} 1\n'
        "# HELP other Other.\n# TYPE other gauge\n"
        'other{component="a"} 2\nother{component="b"} 2\n'
    )


def test_a_label_component_that_is_there_stays():
    joined = join({"a": 'calls{x="1",component="registry"} 1\n'})

    assert joined.text == 'calls{x="1",component="registry"} 1\n'


def test_a_label_value_that_looks_like_a_label_is_not_taken_for_one():
    text = 'calls{path="{a,component=\\"x\\"}"} 1\n'

    samples = samples_of(join({"a": text}).text)

    assert samples == {("calls", (("component", "a"), ("path", '{a,component="x"}'))): 1}


def test_samples_without_a_header_keep_their_place():
    text = "# TYPE first gauge\nfirst 1\nsecond 2\n"

    assert samples_of(join({"a": text}).text) == {("first", (("component", "a"),)): 1, ("second", (("component", "a"),)): 2}


def test_histograms_survive():
    registry = CollectorRegistry()
    histogram = Histogram("seconds", "Time.", ("method",), registry=registry, buckets=(0.1, 1))
    histogram.labels("Get").observe(0.05)
    text = generate_latest(registry).decode()

    families = {family.name: family for family in text_string_to_metric_families(join({"a": text, "b": text}).text)}

    assert families["seconds"].type == "histogram"
    assert sum(sample.value for sample in families["seconds"].samples if sample.name == "seconds_count") == 2


def process_text(component: str, pid: int, memory: int, started: float = 1.5) -> str:
    return (
        f'# TYPE mlmesh_process_info gauge\nmlmesh_process_info{{component="{component}",host="h",pid="{pid}"}} 1.0\n'
        f'# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds{{component="{component}"}} {started}\n'
        f'# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes{{component="{component}"}} {memory}\n'
        f'# TYPE calls_total counter\ncalls_total{{component="{component}"}} 1\n'
    )


def test_components_of_one_process_count_it_once():
    joined = join(
        {"users": process_text("users", 7, 100), "registry": process_text("registry", 7, 101), "serving": process_text("serving", 8, 50)}
    )

    samples = samples_of(joined.text)
    memory = {labels: value for (name, labels), value in samples.items() if name == "process_resident_memory_bytes"}
    assert memory == {(("component", "registry,users"),): 101, (("component", "serving"),): 50}
    assert sum(value for (name, _), value in samples.items() if name == "calls_total") == 3


def test_processes_of_one_number_in_different_containers_are_two():
    joined = join({"users": process_text("users", 1, 100, started=1.5), "registry": process_text("registry", 1, 50, started=2.5)})

    memory = [value for (name, _), value in samples_of(joined.text).items() if name == "process_resident_memory_bytes"]
    assert sorted(memory) == [50, 100]


def test_workers_of_one_component_have_series_of_their_own():
    texts = {Source("serving", number): process_text("serving", number, 100 * number) for number in (1, 2)}

    samples = samples_of(join_sources(texts).text)

    memory = {dict(labels)["worker"]: value for (name, labels), value in samples.items() if name == "process_resident_memory_bytes"}
    assert memory == {"1": 100, "2": 200}
    assert {dict(labels)["component"] for _, labels in samples} == {"serving"}
    assert len(samples) == 8


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("x 1", 'x{component="a",worker="2"} 1'),
        ("x{} 1", 'x{component="a",worker="2"} 1'),
        ('x{l="1",} 1', 'x{component="a",worker="2",l="1",} 1'),
        ('x{worker="own"} 1', 'x{component="a",worker="own"} 1'),
    ],
)
def test_labels_are_added_where_they_are_missing(sample, expected):
    assert join_sources({Source("a", 2): sample + "\n"}).text == expected + "\n"


def test_a_metric_with_another_type_elsewhere_is_left_out_and_told():
    joined = join({"a": "# TYPE x counter\nx 1\n", "b": "# TYPE x gauge\nx 2\n"})

    assert joined.text == '# TYPE x counter\nx{component="a"} 1\n'
    assert joined.conflicts == ("b: x",)


names = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
label_values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=12)


@given(st.dictionaries(names, st.dictionaries(names, st.tuples(label_values, st.integers(0, 10**9)), max_size=4), max_size=4))
def test_nothing_is_lost_whatever_sources_say(sources):
    texts = {}
    expected = {}
    for source, metrics in sources.items():
        registry = CollectorRegistry()
        for name, (label, number) in metrics.items():
            Gauge(f"g_{name}", 'Help with \\ and "quotes"\nand lines.', ("label",), registry=registry).labels(label).set(number)
            counter = Counter(f"c_{name}", "Counter.", registry=registry)
            counter.inc(number)
            expected[f"g_{name}", (("component", source), ("label", label))] = float(number)
            expected[f"c_{name}_total", (("component", source),)] = float(number)
        texts[source] = generate_latest(registry).decode()

    samples = samples_of(join(texts).text)

    assert {key: value for key, value in samples.items() if not key[0].endswith("_created")} == expected
