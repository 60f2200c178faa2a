"""`mlmesh features import-feast`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.output import console, plain, print_json, print_table
from mlmesh.sync import feast_imports

Dump = Annotated[Path, typer.Argument(metavar="FILE", help="What `feast registry-dump` prints.", exists=True, dir_okay=False)]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        metavar="SOURCE=DATASET",
        help="Dataset with the rows of a data source; default: the one of the source's name. May be repeated.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be made, and make nothing.")]
WriteTimes = Annotated[
    bool, typer.Option("--write-times/--no-write-times", help="Whether created_timestamp_column says when a row was written.")
]


def import_feast(
    file: Dump,
    dataset: Datasets = None,
    write_times: WriteTimes = True,
    dry_run: DryRun = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make the entities, feature views and feature services of a Feast repository. What is there already stays as it is."""
    datasets = _datasets(dataset or ())
    with connected(url, data_dir) as mesh:
        done = feast_imports.import_feast(mesh.features, file, datasets=datasets, write_times=write_times, dry_run=dry_run, project=project)
    if as_json:
        print_json(plain(done))
        return
    print_table(
        ("KIND", "NAME", "OUTCOME", "NOTE"),
        ((item.kind, item.name, item.outcome, item.note) for item in done.items),
        empty="the repository defines nothing",
    )
    made = "would be made" if done.is_dry_run else "made"
    console().print(f"{len(done.made)} {made}, {len(done.unchanged)} unchanged, {len(done.not_imported)} not imported", soft_wrap=True)


def _datasets(texts: Iterable[str]) -> dict[str, str]:
    datasets = {}
    for text in texts:
        source, _, dataset = text.partition("=")
        if not source or not dataset:
            raise typer.BadParameter(f"{text!r} is not SOURCE=DATASET", param_hint="--dataset")
        datasets[source] = dataset
    return datasets
