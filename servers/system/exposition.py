"""Joins the Prometheus texts of several sources into one.

The format (https://prometheus.io/docs/instrumenting/exposition_formats/) wants one HELP and one TYPE a metric, and all its samples
together, so texts cannot be put one behind the other. Samples get the label `component`, and `worker` where a component has several
processes, whose series would be the same otherwise. Components that share a process tell the same of it (`process_*`, `python_*`): that is
told once, for all of them, or the memory of a laptop's mesh would count three times.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PROCESS_INFO = "mlmesh_process_info"
"""Metric by which a server says which process it is in."""

_ABOUT_PROCESS = ("process_", "python_")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"')
# Samples of one metric that carry a name of their own.
_SUFFIXES = ("_bucket", "_count", "_sum", "_total", "_created", "_info")


@dataclass(frozen=True, order=True)
class Source:
    """Who has metrics to give.

    Args:
        component: Name of the component.
        worker: Number of its process, from 1; 0 where it has no more than one.
    """

    component: str
    worker: int = 0

    @property
    def labels(self) -> dict[str, str]:
        """Labels of its samples."""
        return {"component": self.component} | ({"worker": str(self.worker)} if self.worker else {})

    def __str__(self) -> str:
        return f"{self.component} (worker {self.worker})" if self.worker else self.component


@dataclass
class Family:
    """One metric.

    Args:
        name: Its name.
        kind: Its type; empty where the source says none.
        help: What it is, escaped as in the text; empty likewise.
        samples: Its lines.
    """

    name: str
    kind: str = ""
    help: str = ""
    samples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Joined:
    """One text for the whole mesh.

    Args:
        text: The text.
        conflicts: Metrics left out of a source because another has one of the name with a different type, as `source: name`.
    """

    text: str
    conflicts: tuple[str, ...]


def join(texts: Mapping[Source, str]) -> Joined:
    """Joins texts.

    Args:
        texts: Prometheus text by its source, whose labels a sample gets where it has none of the name.

    Returns:
        One text.
    """
    parsed = {source: list(_families(text)) for source, text in sorted(texts.items())}
    sharing = _sharing(parsed)
    joined: dict[str, Family] = {}
    conflicts = []
    for source, families in parsed.items():
        for family in families:
            about_process = family.name.startswith(_ABOUT_PROCESS)
            if about_process and sharing[source][0] != source:
                continue
            target = joined.setdefault(family.name, Family(family.name, family.kind, family.help))
            if family.kind and target.kind and family.kind != target.kind:
                conflicts.append(f"{source}: {family.name}")
                continue
            target.kind = target.kind or family.kind
            target.help = target.help or family.help
            labels = source.labels
            if about_process:
                labels["component"] = ",".join(sharer.component for sharer in sharing[source])
            target.samples += [_labelled(sample, labels, replace=about_process) for sample in family.samples]
    return Joined("".join(line for family in joined.values() for line in _rendered(family)), tuple(conflicts))


def _families(text: str) -> Iterator[Family]:
    """Splits a text; lines that are neither HELP, TYPE nor a sample are dropped."""
    families: dict[str, Family] = {}
    current: Family | None = None
    for line in text.split("\n"):  # not splitlines: a label may hold what Unicode takes for the end of a line
        if line.startswith("#"):
            parts = line.split(None, 3)
            if len(parts) < 3 or parts[0] != "#" or parts[1] not in ("HELP", "TYPE"):
                continue
            current = families.setdefault(parts[2], Family(parts[2]))
            rest = parts[3] if len(parts) > 3 else ""
            if parts[1] == "HELP":
                current.help = rest
            else:
                current.kind = rest.strip()
            continue
        name = _NAME.match(line)
        if name is None:
            continue
        if current is None or not _belongs(name.group(), current):
            current = families.setdefault(name.group(), Family(name.group()))
        current.samples.append(line)
    yield from families.values()


def _belongs(sample: str, family: Family) -> bool:
    return sample == family.name or (family.kind != "" and sample.startswith(family.name) and sample[len(family.name) :] in _SUFFIXES)


def _sharing(parsed: Mapping[Source, Iterable[Family]]) -> dict[Source, tuple[Source, ...]]:
    """Groups sources by process: every source, with all that share its process, itself among them."""
    by_process: dict[object, list[Source]] = {}
    for source, families in parsed.items():
        by_process.setdefault(_process(families) or source, []).append(source)
    return {source: tuple(sources) for sources in by_process.values() for source in sources}


def _process(families: Iterable[Family]) -> tuple[str, str, str] | None:
    """Names a process by host, number and start: containers on one host all begin with process 1."""
    samples = {family.name: family.samples[0] for family in families if family.samples}
    labels = dict(_LABEL.findall(samples.get(PROCESS_INFO, "")))
    started = samples.get("process_start_time_seconds", "").rpartition(" ")[2]
    return (labels.get("host", ""), labels["pid"], started) if "pid" in labels else None


def _labelled(sample: str, labels: Mapping[str, str], *, replace: bool) -> str:
    """Adds labels to a sample; of a name that it has already, it keeps its own, or else theirs takes its place."""
    name = _NAME.match(sample)
    assert name is not None  # noqa: S101  # `_families` keeps nothing else
    rest = sample[name.end() :]
    missing = dict(labels)
    kept = []
    position, end = 1, 1
    while rest.startswith("{") and (match := _LABEL.match(rest, position)):
        if not (replace and match.group(1) in labels):
            kept.append(match.group())
            missing.pop(match.group(1), None)
        end = match.end()
        position = end + 1 if rest[end : end + 1] == "," else end
    texts = [*(f'{label}="{value}"' for label, value in missing.items()), *kept]
    return f"{name.group()}{{{','.join(texts)}{rest[end:] if rest.startswith('{') else '}' + rest}"


def _rendered(family: Family) -> Iterator[str]:
    if not family.samples:
        return
    if family.help:
        yield f"# HELP {family.name} {family.help}\n"
    if family.kind:
        yield f"# TYPE {family.name} {family.kind}\n"
    for sample in family.samples:
        yield f"{sample}\n"
