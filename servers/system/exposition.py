"""Joins the Prometheus texts of several sources into one.

The format (https://prometheus.io/docs/instrumenting/exposition_formats/) wants one HELP and one TYPE a metric, and all its samples
together, so texts cannot be put one behind the other. Samples get the label `component`. Components that share a process tell the same
of it (`process_*`, `python_*`): that is told once, for all of them, or the memory of a laptop's mesh would count three times.
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


def join(texts: Mapping[str, str]) -> Joined:
    """Joins texts.

    Args:
        texts: Prometheus text by the name of its source, which becomes the label `component` where a sample has none.

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
            component = ",".join(sharing[source]) if about_process else source
            target.samples += [_labelled(sample, component, replace=about_process) for sample in family.samples]
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


def _sharing(parsed: Mapping[str, Iterable[Family]]) -> dict[str, tuple[str, ...]]:
    """Groups sources by process: every source, with all that share its process, itself among them."""
    by_process: dict[object, list[str]] = {}
    for source, families in parsed.items():
        by_process.setdefault(_process(families) or source, []).append(source)
    return {source: tuple(sources) for sources in by_process.values() for source in sources}


def _process(families: Iterable[Family]) -> tuple[str, str, str] | None:
    """Names a process by host, number and start: containers on one host all begin with process 1."""
    samples = {family.name: family.samples[0] for family in families if family.samples}
    labels = dict(_LABEL.findall(samples.get(PROCESS_INFO, "")))
    started = samples.get("process_start_time_seconds", "").rpartition(" ")[2]
    return (labels.get("host", ""), labels["pid"], started) if "pid" in labels else None


def _labelled(sample: str, component: str, *, replace: bool) -> str:
    name = _NAME.match(sample)
    assert name is not None  # noqa: S101  # `_families` keeps nothing else
    rest = sample[name.end() :]
    label = f'component="{component}"'
    if not rest.startswith("{"):
        return f"{name.group()}{{{label}}}{rest}"
    position, end = 1, 1
    while match := _LABEL.match(rest, position):
        if match.group(1) == "component":
            return sample if not replace else f"{name.group()}{rest[: match.start()]}{label}{rest[match.end() :]}"
        end = match.end()
        position = end + 1 if rest[end : end + 1] == "," else end
    separator = "," if end > 1 else ""
    return f"{name.group()}{{{label}{separator}{rest[1:]}"


def _rendered(family: Family) -> Iterator[str]:
    if not family.samples:
        return
    if family.help:
        yield f"# HELP {family.name} {family.help}\n"
    if family.kind:
        yield f"# TYPE {family.name} {family.kind}\n"
    for sample in family.samples:
        yield f"{sample}\n"
