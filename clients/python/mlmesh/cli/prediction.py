"""The command `mlmesh predict`."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mlmesh.cli.connection import Alias, AsJson, DataDir, Project, Stage, Url, Version, connected
from mlmesh.cli.output import console, print_error, print_json, print_table


def add_commands(app: typer.Typer) -> None:
    """Adds the command to an application."""
    app.command()(predict)


def predict(
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    rows: Annotated[
        str,
        typer.Argument(help="Rows as JSON, `[[1, 2], [3, 4]]`; or a body with `instances`, `inputs` or `tensors`. `-` = standard input."),
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Rows from a .json, .csv (with a header) or .npy file.", exists=True, dir_okay=False)
    ] = None,
    version: Version = 0,
    alias: Alias = "",
    stage: Stage = "",
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Predict with a model, and show which version answered."""
    if bool(rows) == (file is not None):
        print_error("give rows or --file", "for example: mlmesh predict flight-delay '[[1.0, 2.0]]'")
        raise typer.Exit(2)
    try:
        body = _body(rows, file)
    except (ValueError, OSError) as error:
        print_error(f"the rows cannot be read: {error}")
        raise typer.Exit(2) from None
    with connected(url, data_dir) as mesh:
        answer = mesh.serving.predict_json(model, body, version=version, alias=alias, stage=stage, project=project)
    if as_json:
        print_json(answer)
        return
    _show(answer)


def _body(rows: str, file: Path | None) -> dict[str, Any]:
    if file is not None and file.suffix == ".csv":
        return {"instances": _csv_rows(file)}
    if file is not None and file.suffix == ".npy":
        import numpy as np

        return {"instances": np.load(file, allow_pickle=False).tolist()}
    text = file.read_text("utf-8") if file is not None else sys.stdin.read() if rows == "-" else rows
    value = json.loads(text)
    return value if isinstance(value, dict) else {"instances": value}


def _csv_rows(file: Path) -> list[list[Any]]:
    with file.open(newline="", encoding="utf-8") as lines:
        _header, *rows = csv.reader(lines)
    return [[_value(cell) for cell in row] for row in rows]


def _value(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _show(answer: dict[str, Any]) -> None:
    predictions = answer["predictions"]
    if predictions and isinstance(predictions[0], dict):
        columns = list(predictions[0])
        print_table(columns, ([json.dumps(one[column]) for column in columns] for one in predictions))
    else:
        print_table(("PREDICTION",), ([json.dumps(one)] for one in predictions))
    model = answer["model"]
    digest, prediction_id = model["digest"], answer["prediction_id"]
    console().print(f"\n[dim]{model['name']} version {model['version']}, {digest}, prediction {prediction_id}[/]", soft_wrap=True)
