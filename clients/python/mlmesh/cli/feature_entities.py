"""Commands about what features are of: `mlmesh features entities …`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from mlmesh.cli.connection import AsJson, DataDir, Project, Url, connected
from mlmesh.cli.definition_options import Description, DisplayName, Etag, Filter, Label, Limit, label_text
from mlmesh.cli.job_options import labels_of
from mlmesh.cli.output import console, moment, plain, print_json, print_table
from mlmesh.feature_views import Entity

app = typer.Typer(help="What features are of: users, flights, pairs of accounts.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the entity.")]
JoinKeys = Annotated[
    list[str],
    typer.Option("--key", metavar="NAME=TYPE", help="A join key: bool, int64, string, bytes, date or timestamp; may be repeated."),
]


@app.command()
def create(
    name: Name,
    key: JoinKeys,
    display_name: DisplayName = None,
    description: Description = None,
    label: Label = None,
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make an entity. Its join keys never change."""
    keys = _keys(key)
    with connected(url, data_dir) as mesh:
        made = mesh.features.create_entity(
            name, keys, display_name=display_name or "", description=description or "", labels=labels_of(label), project=project
        )
    _print_entity(made, as_json=as_json)


@app.command()
def update(
    name: Name,
    display_name: DisplayName = None,
    description: Description = None,
    label: Label = None,
    etag: Etag = "",
    project: Project = "",
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Change what people read of an entity. What is not given stays; labels are replaced together."""
    labels = labels_of(label) if label is not None else None
    with connected(url, data_dir) as mesh:
        changed = mesh.features.update_entity(
            name, display_name=display_name, description=description, labels=labels, etag=etag, project=project
        )
    _print_entity(changed, as_json=as_json)


@app.command("list")
def list_entities(
    filter_: Filter = "", limit: Limit = 100, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """List entities."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.list_entities(filter=filter_, project=project).to_list(limit)
    if as_json:
        print_json([plain(one) for one in found])
        return
    rows = ((one.name, _key_text(one), one.description, label_text(one.labels), one.creator, moment(one.update_time)) for one in found)
    print_table(("NAME", "KEY", "DESCRIPTION", "LABELS", "BY", "CHANGED"), rows, empty="no entities")


@app.command()
def show(name: Name, project: Project = "", url: Url = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show an entity."""
    with connected(url, data_dir) as mesh:
        found = mesh.features.get_entity(name, project=project)
    if as_json:
        print_json(plain(found))
        return
    print_table(
        ("", ""),
        (
            ("name", found.name),
            ("key", _key_text(found)),
            ("display name", found.display_name),
            ("description", found.description),
            ("labels", label_text(found.labels)),
            ("created", f"{moment(found.create_time)} by {found.creator or '-'}"),
            ("changed", moment(found.update_time)),
            ("etag", found.etag),
        ),
    )


@app.command()
def delete(name: Name, etag: Etag = "", project: Project = "", url: Url = None, data_dir: DataDir = None) -> None:
    """Delete an entity that no view has."""
    with connected(url, data_dir) as mesh:
        mesh.features.delete_entity(name, etag=etag, project=project)
    console().print(f"entity {name} is deleted", soft_wrap=True, markup=False)


def _keys(texts: Iterable[str]) -> dict[str, str]:
    keys = {}
    for text in texts:
        name, _, kind = text.partition("=")
        if not name or not kind:
            raise typer.BadParameter(f"{text!r} is not NAME=TYPE", param_hint="--key")
        keys[name] = kind
    return keys


def _key_text(entity: Entity) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in entity.join_keys.items())


def _print_entity(entity: Entity, *, as_json: bool) -> None:
    if as_json:
        print_json(plain(entity))
    else:
        console().print(f"entity {entity.name} of {_key_text(entity)}", soft_wrap=True, markup=False)
