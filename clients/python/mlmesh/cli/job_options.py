"""The options by which commands say what a processing job is to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from mlmesh.job_specs import JobOutput, JobResources, JobSpec

Sql = Annotated[
    str, typer.Option(metavar="FILE|TEXT", help="A SELECT over the inputs, or the file that has it; `-` reads it from standard input.")
]
InputNames = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="[NAME=]DATASET[@VERSION]",
        help="A dataset, and the name by which the SELECT reads it where that is another; may be repeated.",
    ),
]
OutputName = Annotated[str, typer.Option("--output", metavar="DATASET", help="The dataset that is written; made where there is none.")]
Mode = Annotated[str, typer.Option(help="overwrite, append or upsert.")]
Keys = Annotated[list[str] | None, typer.Option("--key", help="Column that tells rows apart, for upsert; may be repeated.")]
Engine = Annotated[str, typer.Option(help="local, ray, dask or spark.")]
MemoryMib = Annotated[int, typer.Option("--memory-mib", help="Memory of the job, in MiB; default: the server's.", min=0)]
Threads = Annotated[int, typer.Option(help="Threads, or tasks at a time; default: the server's.", min=0)]
Priority = Annotated[int, typer.Option(help="The highest begins first.", min=-100, max=100)]
SpecFile = Annotated[
    Path | None,
    typer.Option(
        "--spec",
        metavar="FILE",
        help="JSON or YAML of a whole job, as the contract's JobSpec has it, instead of these options.",
        exists=True,
        dir_okay=False,
    ),
]


def job_spec(
    sql: str,
    inputs: Iterable[str] | None,
    output: str,
    mode: str,
    keys: Iterable[str] | None,
    engine: str,
    memory_mib: int,
    threads: int,
    priority: int,
    spec: Path | None,
) -> JobSpec | Mapping[str, Any]:
    """Returns what the options say.

    Raises:
        typer.BadParameter: They contradict each other, or a file cannot be read.
    """
    if spec is not None:
        if any((sql, inputs, output, mode, keys, engine, memory_mib, threads, priority)):
            raise typer.BadParameter("it has the whole job; give no other option of one", param_hint="--spec")
        return read_spec(spec)
    if not sql or not inputs or not output:
        raise typer.BadParameter("give --sql, --input and --output, or --spec")
    return JobSpec(
        inputs=dict(map(_named_input, inputs)),
        outputs={output: JobOutput(mode=mode or "overwrite", keys=tuple(keys or ()))},
        sql=_statement(sql),
        engine=engine,
        resources=JobResources(memory_mib=memory_mib, threads=threads),
        priority=priority,
    )


def labels_of(texts: Iterable[str] | None) -> dict[str, str]:
    """Returns labels by key.

    Raises:
        typer.BadParameter: One is not KEY=VALUE.
    """
    labels = {}
    for text in texts or ():
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return labels


def _named_input(text: str) -> tuple[str, str | tuple[str, int]]:
    name, separator, rest = text.partition("=")
    dataset, marked, version = (rest if separator else name).partition("@")
    if not separator:
        name = dataset
    if not name or not dataset or (marked and not version.isdecimal()):
        raise typer.BadParameter(f"{text!r} is not [NAME=]DATASET[@VERSION]", param_hint="--input")
    return name, (dataset, int(version)) if marked else dataset


def _statement(sql: str) -> str:
    if sql == "-":
        return sys.stdin.read()
    # No SELECT that people write has no space, and a file that is not there should not be taken for one.
    if any(character.isspace() for character in sql):
        return sql
    try:
        return Path(sql).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"the file {sql} cannot be read: {error}", param_hint="--sql") from None


def read_spec(path: Path) -> Mapping[str, Any]:
    """Returns what a file of JSON or YAML says.

    Raises:
        typer.BadParameter: It cannot be read, or says something else.
    """
    try:
        text = path.read_text("utf-8")
        read = _yaml(text) if path.suffix in {".yaml", ".yml"} else json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="--spec") from None
    if not isinstance(read, dict):
        raise typer.BadParameter(f"{path} has no spec: it has to be one object, as the contract has it", param_hint="--spec")
    return read


def _yaml(text: str) -> Any:
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        raise typer.BadParameter("YAML needs PyYAML: `pip install pyyaml`; or write JSON", param_hint="--spec") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(error) from None
