"""Commands about the features of models: `mlmesh features services …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.definition_options import (
    Description,
    DisplayName,
    Etag,
    Filter,
    Label,
    Limit,
    SpecFile,
    ValidateOnly,
    VersionShown,
    label_text,
)
from mlmesh.cli.job_options import labels_of, read_spec
from mlmesh.cli.output import console, moment, plain, print_json, print_table
from mlmesh.feature_views import FeatureService

app = typer.Typer(help="The features of models, with the versions of their views.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the service.")]


@app.command()
def create(
    name: Name,
    spec: Annotated[Path, SpecFile],
    display_name: DisplayName = None,
    description: Description = None,
    label: Label = None,
    validate_only: ValidateOnly = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a feature service of a file that has its FeatureServiceSpec as JSON or YAML."""
    with connected(url, data_dir) as mesh:
        made = mesh.features.create_feature_service(
            name,
            read_spec(spec),
            display_name=display_name or "",
            description=description or "",
            labels=labels_of(label),
            validate_only=validate_only,
            project=project,
        )
    _print_service(made, as_json=as_json)


@app.command()
def update(
    name: Name,
    spec: Annotated[Path | None, SpecFile] = None,
    display_name: DisplayName = None,
    description: Description = None,
    label: Label = None,
    etag: Etag = "",
    validate_only: ValidateOnly = False,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Change a feature service. What is not given stays; labels are replaced together. Another spec is another version."""
    with connected(url, data_dir) as mesh:
        changed = mesh.features.update_feature_service(
            name,
            spec=read_spec(spec) if spec is not None else None,
            display_name=display_name,
            description=description,
            labels=labels_of(label) if label is not None else None,
            etag=etag,
            validate_only=validate_only,
            project=project,
        )
    _print_service(changed, as_json=as_json)


@app.command("list")
def list_services(
    filter_: Filter = "", limit: Limit = 100, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List feature services."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.list_feature_services(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    rows = ((one.name, one.version, _views(one.spec), label_text(one.labels), one.creator, moment(one.update_time)) for one in found)
    print_table(("NAME", "VERSION", "VIEWS", "LABELS", "BY", "CHANGED"), rows, empty="no feature services")


@app.command()
def show(
    name: Name, version: VersionShown = None, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Show a feature service: what it gives, and what it has to be given."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.get_feature_service(name, version=version, project=project)
    if as_json:
        print_json(plain(found))
        return
    print_table(
        ("", ""),
        (
            ("name", found.name),
            ("display name", found.display_name),
            ("description", found.description),
            ("labels", label_text(found.labels)),
            ("version", found.version),
            ("inputs", ", ".join(f"{one['name']} {one['type']}" for one in found.spec.get("request_inputs", ()))),
            ("created", f"{moment(found.create_time)} by {found.creator or '-'}"),
            ("changed", moment(found.update_time)),
            ("etag", found.etag),
        ),
    )
    console().print()
    features = (
        (one["view"], one.get("version", ""), ", ".join(one.get("features", ())), one.get("prefix", ""))
        for one in found.spec.get("selections", ())
    )
    print_table(("VIEW", "VERSION", "FEATURES", "PREFIX"), features)
    computed = [(one["name"], one["type"], one["expression"]) for one in found.spec.get("on_demand_features", ())]
    if computed:
        console().print()
        print_table(("ON DEMAND", "TYPE", "EXPRESSION"), computed)


@app.command()
def versions(
    name: Name, limit: Limit = 100, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List the versions of a feature service, the newest first."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.list_feature_service_versions(name, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    rows = ((one.version, _views(one.spec), one.creator, moment(one.create_time)) for one in found)
    print_table(("VERSION", "VIEWS", "BY", "CREATED"), rows)


@app.command()
def delete(name: Name, etag: Etag = "", project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Delete a feature service with its versions."""
    with connected(url, data_dir) as mesh:
        mesh.features.delete_feature_service(name, etag=etag, project=project)
    console().print(f"feature service {name} is deleted", soft_wrap=True, markup=False)


def _views(spec: dict[str, Any]) -> str:
    return ", ".join(f"{one['view']}@{one.get('version', 'newest')}" for one in spec.get("selections", ()))


def _print_service(service: FeatureService, *, as_json: bool) -> None:
    if as_json:
        print_json(plain(service))
    else:
        console().print(f"feature service {service.name} version {service.version}: {_views(service.spec)}", soft_wrap=True, markup=False)
