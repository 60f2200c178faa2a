"""Commands about models: `mlmesh models …`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from mlops.common.v1 import tensor_pb2
from mlops.registry.v1 import model_pb2, registry_service_pb2
from rich.text import Text

from mlmesh.cli.connection import Alias, AsJson, DataDir, Project, Stage, Url, Version, as_dict, connected, when
from mlmesh.cli.output import coloured, console, human_size, print_error, print_json, print_table
from mlmesh.fields import enum_name

app = typer.Typer(help="Save, find, fetch and release models.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the model.")]
Number = Annotated[int, typer.Argument(help="Version number.", min=1)]


@app.command("list")
def list_models(
    filter_: Annotated[str, typer.Option("--filter", help="AIP-160 filter, for example 'tags.type = \"classifier\"'.")] = "",
    limit: Annotated[int, typer.Option(help="Most models to show.", min=1)] = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List models."""
    with connected(url, data_dir) as mesh:
        models = mesh.registry.list_models(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([as_dict(model) for model in models])
        return
    rows = (
        (one.name, one.latest_version, one.version_count, _pairs(one.aliases), _pairs(one.tags), when(one.update_time)) for one in models
    )
    print_table(("NAME", "LATEST", "VERSIONS", "ALIASES", "TAGS", "UPDATED"), rows, empty="no models")


@app.command()
def show(
    name: Name,
    version: Version = 0,
    alias: Alias = "",
    stage: Stage = "",
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a model, or with a choice one of its versions."""
    with connected(url, data_dir) as mesh:
        if version or alias or stage:
            found = mesh.registry.resolve_model_version(name, version=version, alias=alias, stage=stage, project=project)
            _show(found, as_json)
            return
        model = mesh.registry.get_model(name, project=project)
        newest = mesh.registry.get_model_version(name, model.latest_version, project=project) if model.latest_version else None
    if as_json:
        print_json({**as_dict(model), "latest": as_dict(newest) if newest is not None else None})
        return
    print_table(
        ("", ""),
        (
            ("name", model.name),
            ("description", model.description),
            ("tags", _pairs(model.tags)),
            ("aliases", _pairs(model.aliases)),
            ("versions", model.version_count),
            ("created", f"{when(model.create_time)} by {model.creator or '-'}"),
        ),
    )
    if newest is not None:
        console().print()
        _show(newest, as_json=False)


@app.command()
def versions(
    name: Name,
    filter_: Annotated[str, typer.Option("--filter", help="AIP-160 filter, for example 'stage = \"PRODUCTION\"'.")] = "",
    limit: Annotated[int, typer.Option(help="Most versions to show.", min=1)] = 100,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the versions of a model, newest first."""
    with connected(url, data_dir) as mesh:
        found = mesh.registry.list_model_versions(name, filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([as_dict(version) for version in found])
        return
    rows = (
        (
            *(one.version, _state(one), enum_name(model_pb2.ModelStage, one.stage), ", ".join(one.aliases), one.format),
            *(human_size(one.size_bytes), _pairs(one.metrics), when(one.create_time)),
        )
        for one in found
    )
    print_table(("VERSION", "STATE", "STAGE", "ALIASES", "FORMAT", "SIZE", "METRICS", "CREATED"), rows, empty="no versions")


@app.command()
def save(
    name: Name,
    path: Annotated[Path, typer.Argument(help="An ONNX file, another file, or a folder.", exists=True)],
    description: Annotated[str, typer.Option(help="What is new in this version.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Tag, KEY=VALUE; may be repeated.")] = None,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Save a file or a folder as the next version of a model. An ONNX file can be served at once."""
    tags = dict(_pair(text) for text in tag or ())
    with connected(url, data_dir) as mesh:
        saved = mesh.registry.save_model(path, name, description, tags=tags, project=project, progress=not as_json)
    if as_json:
        print_json(as_dict(saved))
        return
    console().print(f"saved {name} version {saved.version} ({human_size(saved.size_bytes)}, {saved.digest[:19]}…)")


@app.command()
def download(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="Folder to write the files to.", file_okay=False)],
    version: Version = 0,
    alias: Alias = "",
    stage: Stage = "",
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Fetch the files of a version and verify them. What broke off is gone on with."""
    with connected(url, data_dir) as mesh:
        found = mesh.registry.pull_version(name, folder, version=version, alias=alias, stage=stage, project=project, progress=True)
    console().print(f"{name} version {found.version}: {len(found.files)} files, {human_size(found.size_bytes)} in {folder}", soft_wrap=True)


@app.command()
def alias(
    name: Name,
    alias_name: Annotated[str, typer.Argument(metavar="ALIAS", help="The alias, for example champion.")],
    version: Annotated[int, typer.Argument(help="Version to point it at.", min=0)] = 0,
    delete_it: Annotated[bool, typer.Option("--delete", help="Remove the alias.")] = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Point an alias at a version, or remove it."""
    if delete_it == bool(version):
        print_error("give either a version or --delete")
        raise typer.Exit(2)
    with connected(url, data_dir) as mesh:
        if delete_it:
            mesh.registry.delete_alias(name, alias_name, project=project)
        else:
            mesh.registry.set_alias(name, alias_name, version, project=project)
    console().print(f"{name}: {alias_name} removed" if delete_it else f"{name}: {alias_name} is version {version}")


@app.command()
def stage(
    name: Name,
    version: Number,
    stage_name: Annotated[str, typer.Argument(metavar="STAGE", help="none, development, staging, production or archived.")],
    archive_others: Annotated[bool, typer.Option("--archive-others", help="Archive the versions that are in that stage now.")] = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Move a version to a stage."""
    with connected(url, data_dir) as mesh:
        moved = mesh.registry.set_model_stage(name, version, stage_name, archive_others=archive_others, project=project)
    console().print(f"{name} version {version} is in {enum_name(model_pb2.ModelStage, moved.stage)}")


@app.command()
def delete(
    name: Name,
    version: Version = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
) -> None:
    """Delete a model with all its versions, or one version. `restore` undoes it for a while."""
    what = f"version {version} of {name}" if version else f"{name} and all its versions"
    if not yes:
        typer.confirm(f"Delete {what}?", abort=True)
    with connected(url, data_dir) as mesh:
        if version:
            mesh.registry.delete_model_version(name, version, project=project)
        else:
            mesh.registry.delete_model(name, project=project)
    console().print(f"deleted {what}")


@app.command()
def restore(name: Name, version: Version = 0, project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Undo the deletion of a model or of a version."""
    with connected(url, data_dir) as mesh:
        if version:
            mesh.registry.restore_model_version(name, version, project=project)
        else:
            mesh.registry.restore_model(name, project=project)
    console().print(f"restored {name}" + (f" version {version}" if version else ""))


@app.command()
def compare(
    name: Name,
    version: Number,
    other: Number,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions of a model."""
    with connected(url, data_dir) as mesh:
        answer = mesh.registry.compare_model_versions(name, version, other, project=project)
    if as_json:
        print_json(as_dict(answer))
        return
    rows = ((one.field, one.value, one.other_value) for one in answer.differences)
    print_table(("FIELD", f"VERSION {version}", f"VERSION {other}"), rows, empty="no differences")
    fits = "can" if answer.signature_compatible else "cannot"
    console().print(f"callers of version {version} {fits} call version {other} unchanged")


@app.command()
def verify(
    name: Name,
    version: Number,
    signed: Annotated[bool, typer.Option("--signed", help="Fail unless a key that the registry trusts has signed the files.")] = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Let the registry read every file of a version, compare digests, and verify its signature.

    Exits with 1 where a file is damaged, or the signature is unreadable or not over these files.
    """
    with connected(url, data_dir) as mesh:
        answer = mesh.registry.verify_model_version(name, version, project=project)
    verdict = enum_name(registry_service_pb2.ModelSignatureVerdict, answer.signature.verdict)
    is_well = answer.intact and (verdict == "valid" if signed else verdict not in {"mismatched", "unreadable"})
    if as_json:
        print_json(as_dict(answer))
    else:
        files = "intact" if answer.intact else f"damaged: {', '.join(answer.damaged_paths)}"
        found = f"{files}; {_signature(answer, verdict)}"
        if is_well:
            console().print(found, markup=False, soft_wrap=True)
        else:
            print_error(found)
    if not is_well:
        raise typer.Exit(1)


def _show(version: model_pb2.ModelVersion, as_json: bool) -> None:
    if as_json:
        print_json(as_dict(version))
        return
    print_table(
        ("", ""),
        (
            ("version", f"{version.version} ({enum_name(model_pb2.ModelVersionState, version.state)})"),
            ("description", version.description),
            ("stage", enum_name(model_pb2.ModelStage, version.stage)),
            ("aliases", ", ".join(version.aliases)),
            ("tags", _pairs(version.tags)),
            ("format", version.format),
            ("digest", version.digest),
            ("inputs", _specs(version.signature.inputs)),
            ("outputs", _specs(version.signature.outputs)),
            ("metrics", _pairs(version.metrics)),
            ("files", "\n".join(f"{file.path} ({human_size(file.size_bytes)})" for file in version.files)),
            ("trained on", ", ".join(dataset.name for dataset in version.lineage.datasets)),
            ("made from", ", ".join(f"{parent.model} {parent.version}" for parent in version.lineage.parents)),
            ("created", f"{when(version.create_time)} by {version.creator or '-'}"),
        ),
    )


def _signature(answer: registry_service_pb2.VerifyModelVersionResponse, verdict: str) -> str:
    if not answer.signed:
        return "not signed"
    if verdict == "valid":
        return f"signed by the trusted key {answer.signature.key_fingerprint}"
    return f"signature {verdict}: {answer.signature.problem}"


def _specs(specs: Iterable[tensor_pb2.TensorSpec]) -> str:
    return "\n".join(f"{spec.name}: {enum_name(tensor_pb2.DataType, spec.datatype).upper()} {list(spec.shape)}" for spec in specs)


def _state(version: model_pb2.ModelVersion) -> Text:
    return Text.from_markup(coloured(enum_name(model_pb2.ModelVersionState, version.state)))


def _pairs(mapping: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in sorted(mapping.items()))


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    return key, value
